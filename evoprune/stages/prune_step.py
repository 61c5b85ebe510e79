"""The step that prunes and trains nothing: channels or single weights out under masks, in a network of full width."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from evoprune.common.errors import UserError
from evoprune.common.progress import say
from evoprune.config import ImportanceName, WeightsConfig
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.build import build_network
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.pruning.moments import Moments, measure_moments, moment_inputs
from evoprune.pruning.step_targets import choose, step_target
from evoprune.pruning.targets import Target
from evoprune.pruning.weights.hooks import Rising
from evoprune.pruning.weights.layers import KINDS, output_layers, weight_layers
from evoprune.pruning.weights.masks import Masks, apply_masks, both, code_masks, from_here, smallest_out
from evoprune.pruning.weights.sparsities import Group, make_groups
from evoprune.runs.folder import RunFolder, timed_stage
from evoprune.runs.rounds import Round, round_to_prune
from evoprune.space.costs import compute_costs
from evoprune.space.space import Code
from evoprune.stages.context import Context
from evoprune.stages.curves import read_curves
from evoprune.stages.workspace import Workspace
from evoprune.training.batch_norm import recalibrate


def channel_pruning(method: ImportanceName, target: Target) -> dict[str, Any]:
    """What a round of channels says of itself."""
    return {"kind": "channels", "method": method, "target": target.name}


def weight_pruning(config: WeightsConfig) -> dict[str, Any]:
    """What a round of single weights says of itself."""
    return {"kind": "weights", "weights": config.model_dump(mode="json", exclude={"csr_from"})}


def check_analysed(folder: RunFolder, method: ImportanceName) -> None:
    """Refuse to prune channels before they are analysed.

    Raises:
        UserError: what `evoprune analyse` leaves is not there.
    """
    for path in (folder.importance(method), folder.sensitivity(method)):
        if not path.is_file():
            method_option = "" if method == "magnitude" else f" --method {method}"
            raise UserError(
                f"{path}: no such file; `evoprune analyse FILE{method_option}`, with the same --out, leaves it there; "
                "run it first"
            )


def check_ratios(context: Context) -> None:
    """Look for the layers that `weights.layers` names, before a base network is trained.

    Raises:
        UserError: a ratio that no layer takes.
    """
    space, config = context.space, context.experiment.weights
    if not config.layers:
        return
    network = build_network(space).eval()
    layers = weight_layers(network)
    image = torch.zeros(1, space.parameters["in_channels"], *space.height_width)
    make_groups(layers, output_layers(network, image), config)
    names = {layer.name for layer in layers}
    for name in (name for name in config.layers if name in KINDS and name in names):
        say(f"weights.layers: {name} is the layer of that name, not the kind; a glob such as layer1.* names several")


def prune_channels(workspace: Workspace, method: ImportanceName, target: Target) -> str:
    """Prune channels by the curves that `evoprune analyse` has left, and leave the masked network; returns the table.

    Raises:
        UserError: no further channel goes, or a step is out of order.
    """
    context = workspace.context
    pruning = channel_pruning(method, target)
    place = round_to_prune(context.folder, pruning)
    if not place.has("pruned"):
        curves = read_curves(context.folder.sensitivity(method), context.space)
        network, masks, before = workspace.start()
        code, loss = choose(step_target(target, context.space), curves, context.scores(method), before)
        costs = compute_costs(context.space, [code, context.space.full_code()])["flops"]
        say(
            f"each segment may cost {loss:.3g} points of accuracy alone; "
            f"{int(code.sum())} of {len(code)} channels stay, "
            f"{100 * (1 - costs[0] / costs[1]):.1f} % of the multiply-adds go"
        )
        with timed_stage(context.folder, "prune_step"):
            kept = code_masks(network, lambda copied: slim_network(context.space, copied, code))
            _compensate(workspace, network, code)
            _leave(workspace, network, both(masks, kept), place, {"pruning": pruning, **_code(workspace, code)})
    return workspace.table()


def prune_weights(workspace: Workspace) -> str:
    """Prune single weights as the section `weights` says, and leave the masked network; returns the table.

    Raises:
        UserError: a ratio that no layer takes, no further weight goes, or a step is out of order.
    """
    context = workspace.context
    pruning = weight_pruning(context.experiment.weights)
    place = round_to_prune(context.folder, pruning)
    if not place.has("pruned"):
        network, before, code = workspace.start()
        groups = groups_of(network, workspace, context.experiment.weights)
        masks = smallest_out(network, groups, before)
        if _is_same(before, masks):
            raise UserError("no weight more goes than is gone already; take a higher sparsity")
        rising = rising_of(from_here(network, groups, before), context.experiment.weights)
        if rising is not None:
            masks = smallest_out(network, rising.groups, before, rising.share(0.0))
        with timed_stage(context.folder, "prune_step"):
            _leave(workspace, network, masks, place, {"pruning": pruning, **_code(workspace, code)})
    return workspace.table()


def groups_of(network: nn.Module, workspace: Workspace, config: WeightsConfig) -> tuple[Group, ...]:
    """Which weights of a network are ranked together, and how many of them go."""
    return make_groups(weight_layers(network), output_layers(network, workspace.example), config)


def rising_of(groups: tuple[Group, ...], config: WeightsConfig) -> Rising | None:
    """How the sparsity rises in fine-tuning; None where all is pruned before."""
    if config.schedule == "once":
        return None
    if config.schedule == "logarithmic":  # the source's begins above zero by itself
        groups = tuple(replace(group, start=0.0) for group in groups)
    return Rising(groups, config.schedule, config.changes, config.until)


def _compensate(workspace: Workspace, network: nn.Module, code: Code) -> None:
    """Let the layers make up for what they will no longer read, as all slim networks of the experiment do."""
    context = workspace.context
    moments: Moments | None = None
    if context.experiment.inherit == "compensated":
        inputs = moment_inputs(workspace.data, context.experiment.seed)
        moments = measure_moments(context.space, network, inputs, workspace.compute)
    changes = inherited_changes(context.space, network, code, moments)
    state = network.state_dict()
    network.load_state_dict({**state, **{name: value for name, value in changes.items() if name in state}})


def _leave(workspace: Workspace, network: nn.Module, masks: Masks, place: Round, facts: Mapping[str, Any]) -> None:
    """Apply the masks, measure batch norm again, and save."""
    experiment, data = workspace.context.experiment, workspace.data
    apply_masks(network, masks)
    exact = workspace.compute.exact
    cut = accuracy(network, data, data.validation, exact)
    recalibrate(network, data, experiment.evaluation.recalibration_images, workspace.compute, experiment.seed)
    workspace.save(network, masks, (place, "pruned"), {**facts, "round": place.number, "accuracy_cut": cut})
    say(f"validation accuracy {cut:.2f} % with masks; the table has it after batch norm is measured again")


def _code(workspace: Workspace, code: Code) -> dict[str, str]:
    space = workspace.context.space
    return {"code": space.format_code(code), "key": space.key(code)}


def _is_same(before: Masks, after: Masks) -> bool:
    return all(torch.equal(mask, before[name]) if name in before else bool(mask.all()) for name, mask in after.items())
