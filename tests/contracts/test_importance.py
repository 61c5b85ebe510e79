"""One contract for every importance of channels.

Names what it tests: evoprune.pruning.importance.criteria, evoprune.pruning.importance.magnitude,
evoprune.pruning.importance.taylor, evoprune.pruning.importance.scop, evoprune.pruning.importance.aggregate,
evoprune.pruning.importance.least_squares, evoprune.pruning.importance.options.
"""

import copy
import json
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers import few_digits, random_scores
from torch import nn

from evoprune import SearchSpace, slim_network
from evoprune.config import IMPORTANCES as NAMES
from evoprune.config import ImportanceConfig, ScopConfig
from evoprune.data.tensors import Data
from evoprune.networks.device import CPU, Compute
from evoprune.pruning.importance.aggregate import Importance, segment_scores
from evoprune.pruning.importance.criteria import IMPORTANCES, channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.space.ranking import keep_best

SCOP = ScopConfig(epochs=0.5, batch_size=32, lr=0.02)
KINDS: dict[str, tuple[Any, ImportanceConfig]] = {
    **{
        criterion: ("magnitude", ImportanceConfig(criterion=criterion, images=200))
        for criterion in get_args(ImportanceConfig.model_fields["criterion"].annotation)
    },
    **{
        f"scop, {knockoff}": ("scop", ImportanceConfig(scop=SCOP.model_copy(update={"knockoff": knockoff})))
        for knockoff in get_args(ScopConfig.model_fields["knockoff"].annotation)
    },
}


@pytest.fixture(scope="module")
def digits() -> Data:
    """192 real images, and no validation split: whoever looks at one fails."""
    return replace(few_digits(192), validation=None)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def all_scores(found: Importance) -> dict[str, np.ndarray]:
    return {f"{side} {name}": values for side in ("outputs", "inputs") for name, values in getattr(found, side).items()}


def score(kind: str, network: nn.Module, data: Data, space: SearchSpace, **options: Any) -> Importance:
    name, config = KINDS[kind]
    return channel_importance(network, data, space, name, ImportanceOptions(config, **options))


def test_every_importance_is_under_this_contract():
    assert {name for name, _ in KINDS.values()} == set(IMPORTANCES) == set(NAMES)


@pytest.mark.parametrize("bf16", [False, True])
def test_every_channel_has_a_finite_score(small_space, small_base, digits, kind, bf16):
    found = score(kind, small_base, digits, small_space, compute=Compute(CPU.device, bf16))
    layers = {layer.name: layer for layer in small_space.layers if layer.kind != "adapter"}
    assert found.outputs or found.inputs
    sides = [(layers[name].outputs, values) for name, values in found.outputs.items()]
    for segment, values in (*sides, *((layers[name].inputs, values) for name, values in found.inputs.items())):
        width = small_space.segment(segment).width
        assert values.dtype == np.float64 and values.shape == (width,) and np.isfinite(values).all()
        assert len(set(values)) > 1, "a score that tells no channel from another"
    for part in found.parts.values():
        assert {name: len(values) for name, values in part.items()} == {k: len(v) for k, v in found.outputs.items()}
    bits = segment_scores(small_space, found)
    assert bits.shape == (small_space.length,) and np.isfinite(bits).all()
    for group in small_space.groups:
        assert all((bits[place] == group.of(bits)).all() for place in group.slices)
    json.dumps(found.facts)


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_as_it_was_and_nothing_is_printed(small_space, small_base, digits, kind, training, capfd):
    small_base.train(training).linear.requires_grad_(False)
    small_base.bn1.weight.grad = torch.ones(4)
    before = copy.deepcopy(small_base.state_dict())
    needed = [parameter.requires_grad for parameter in small_base.parameters()]
    score(kind, small_base, digits, small_space)
    assert all(torch.equal(value, before[name]) for name, value in small_base.state_dict().items())
    assert {module.training for module in small_base.modules()} == {training}
    assert [parameter.requires_grad for parameter in small_base.parameters()] == needed
    assert [name for name, value in small_base.named_parameters() if value.grad is not None] == ["bn1.weight"]
    assert (small_base.bn1.weight.grad == 1).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small_base.modules())
    assert capfd.readouterr() == ("", "")


def test_a_network_that_is_not_to_learn_has_the_same_scores(small_space, small_base, digits, kind):
    wanted = all_scores(score(kind, small_base, digits, small_space))
    found = all_scores(score(kind, small_base.requires_grad_(False), digits, small_space))
    assert all((found[name] == values).all() for name, values in wanted.items())


def test_the_same_seed_gives_the_same_scores_whatever_was_drawn_before(small_space, small_base, digits, kind):
    first = all_scores(score(kind, small_base, digits, small_space, seed=3))
    torch.manual_seed(99)
    again = all_scores(score(kind, small_base, digits, small_space, seed=3))
    assert list(first) == list(again) and all((again[name] == values).all() for name, values in first.items())


def test_a_score_is_of_a_channel_and_not_of_its_place(small_space, small_base, digits, kind):
    """The channels of a block's inside in another order: the same network, and the same scores in that order."""
    wanted = all_scores(score(kind, small_base, digits, small_space))
    order, other = torch.tensor([2, 0, 3, 1]), copy.deepcopy(small_base)
    block = other.get_submodule("layer1.1")
    with torch.no_grad():
        block.conv1.weight.copy_(block.conv1.weight[order])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(block.bn1, name).copy_(getattr(block.bn1, name)[order])
        block.conv2.weight.copy_(block.conv2.weight[:, order])
    found = all_scores(score(kind, other, digits, small_space))
    for name, values in wanted.items():
        same = values[order.numpy()] if name in ("outputs layer1.1.conv1", "inputs layer1.1.conv2") else values
        np.testing.assert_allclose(found[name], same, rtol=2e-3, atol=1e-3 * np.abs(values).max())


def test_a_slim_network_is_scored_in_a_space_of_its_own(small_space, small_base, digits, kind):
    counts = [max(2, group.width // 2) for group in small_space.groups]
    code = keep_best(small_space, random_scores(small_space), counts)
    own = small_space.slim(code)
    bits = segment_scores(own, score(kind, slim_network(small_space, small_base, code), digits, own))
    assert bits.shape == (code.sum(),) and np.isfinite(bits).all()
