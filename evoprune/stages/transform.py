"""The step that makes a network lighter: masked channels really go; sparse linear layers become CSR where faster."""

from typing import Any

import torch
from torch import Tensor, nn

from evoprune.common.errors import IncompleteError
from evoprune.common.progress import say
from evoprune.data.batches import EVALUATION_BATCH, batches
from evoprune.evaluation.sparse_latency import linear_times_ms
from evoprune.networks.build import network_spec
from evoprune.networks.checkpoints import save_model
from evoprune.networks.sparse_linear import csr_fault, to_csr
from evoprune.pruning.channels import slim_network
from evoprune.runs.folder import timed_stage
from evoprune.runs.rounds import round_to_transform
from evoprune.stages.workspace import Workspace

TOLERANCE = 1e-5
"""How far outputs may differ, as a share of the largest one where that is above 1."""


def transform(workspace: Workspace) -> str:
    """Make the fine-tuned network of the last round lighter, verify it, and leave it; returns the table.

    Raises:
        UserError: a step out of order.
        IncompleteError: the outputs are not those of the masked network; then nothing is left.
    """
    context = workspace.context
    csr_from = context.experiment.weights.csr_from
    place = round_to_transform(context.folder, csr_from)
    if not place.has("transformed"):
        network, _, code = workspace.load(place, "finetuned")
        with timed_stage(context.folder, "transform"):
            light = slim_network(context.space, network, code).eval()
            linears = choose_csr(light, csr_from, _batch_size(workspace), workspace.example)
            counts = to_csr(light, [name for name, facts in linears.items() if facts["stored"] == "csr"])
            difference = largest_difference(workspace, network, light)
        if not difference <= TOLERANCE:
            raise IncompleteError(
                f"transform: outputs differ by {difference:.2g} of the largest one from those of "
                f"{place.model('finetuned')}; at most {TOLERANCE:g} is allowed, and nothing is written"
            )
        say(f"outputs on {len(workspace.data.validation)} validation images differ by {difference:.1e} at most")
        before = place.description("finetuned")
        facts = {name: before[name] for name in ("pruning", "round", "code", "key", "training")}
        facts |= {"difference": difference, "csr_from": csr_from, "linear_layers": linears, "csr": counts}
        facts |= {"test_accuracy": workspace.test_accuracy(light), **workspace.facts(light)}
        save_model(light, network_spec(context.space, code), place.model("transformed"), **facts)
    return workspace.table()


def choose_csr(network: nn.Module, least: float, batch_size: int, example: Tensor) -> dict[str, dict[str, Any]]:
    """How each linear layer is to be stored, `dense` or `csr`, and why: its zeros, and times where it was timed.

    Args:
        network: in eval mode, with its zeros; it is left as it is.
        least: share of zeros below which a layer is not timed.
        batch_size: images of the forward pass that is timed.
        example: one image, shape (1, channels, height, width), with which a network must run that has sparse rows.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, linear in network.named_modules():
        if type(linear) is not nn.Linear:
            continue
        zeros = 1 - int(linear.weight.count_nonzero()) / linear.weight.numel()
        facts: dict[str, Any] = {"zeros": round(zeros, 6), "stored": "dense"}
        why = f"below {least:.0%}"
        if zeros >= least:
            dense, sparse = linear_times_ms(linear, batch_size)
            facts |= {"batch_size": batch_size, "dense_ms": round(dense, 5), "csr_ms": round(sparse, 5)}
            why = f"at batch {batch_size} dense takes {dense:.3f} ms, CSR {sparse:.3f} ms"
            fault = csr_fault(network, name, example) if sparse < dense else None
            facts["stored"] = "csr" if sparse < dense and fault is None else "dense"
            why += "" if fault is None else f", with which the network does not run ({fault})"
        say(f"{name}: {zeros:.1%} zeros, {why}: {facts['stored']}")
        found[name] = facts
    return found


@torch.no_grad()
def largest_difference(workspace: Workspace, first: nn.Module, second: nn.Module) -> float:
    """The largest difference between two networks' outputs on validation images, over the largest output or 1."""
    first, second = first.eval(), second.eval()
    largest = difference = 0.0
    for indices in batches(len(workspace.data.validation), EVALUATION_BATCH):
        inputs = workspace.data.normalise(workspace.data.validation.batch(indices)[0])
        wanted, found = first(inputs), second(inputs)
        largest = max(largest, float(wanted.abs().max()))
        difference = max(difference, float((wanted - found).abs().max()))
    return difference / max(1.0, largest)


def _batch_size(workspace: Workspace) -> int:
    return workspace.context.experiment.evaluation.latency_batch_size
