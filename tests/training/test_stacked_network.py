"""Candidates stacked into one network: each computes what its slim network computes, and no zero ever learns."""

import pytest
import torch
from torch import Tensor, nn

from evoprune.networks.device import CPU
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.pruning.moments import Moments, measure_moments
from evoprune.training.stacked_network import StackedNetwork

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def base(small_base: nn.Module) -> nn.Module:
    return small_base.double()


def changes_of(space, base, codes, moments: Moments | None = None) -> list[dict[str, Tensor]]:
    return [inherited_changes(space, base, code, moments) for code in codes]


def stack(space, base, codes, moments: Moments | None = None) -> StackedNetwork:
    network = StackedNetwork(space, len(codes), CPU.device)
    network.load(base, codes, changes_of(space, base, codes, moments))
    return network.eval()


@pytest.mark.parametrize("compensated", [False, True])
def test_each_candidate_computes_what_its_slim_network_computes(
    small_space, base, exact_data, mixed_codes, compensated
):
    images = exact_data.normalise(exact_data.validation.images)
    moments = measure_moments(small_space, base, [images]) if compensated else None
    with torch.no_grad():
        logits = stack(small_space, base, mixed_codes, moments)(images)
        alone = [slim_network(small_space, base, code, moments)(images) for code in mixed_codes]
    assert logits.shape == (100, len(mixed_codes), 10)
    torch.testing.assert_close(logits, torch.stack(alone, dim=1), rtol=0, atol=1e-12)
    assert len({tuple(part[0].tolist()) for part in alone}) == len(mixed_codes)


def test_other_candidates_are_written_into_the_same_tensors(small_space, base, mixed_codes):
    network = stack(small_space, base, mixed_codes[:3])
    places = {name: value.data_ptr() for name, value in network.state_dict().items()}
    network.load(base, mixed_codes[3:], changes_of(small_space, base, mixed_codes[3:]))
    assert {name: value.data_ptr() for name, value in network.state_dict().items()} == places
    fresh = stack(small_space, base, mixed_codes[3:]).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in network.state_dict().items())


def test_what_is_pruned_has_no_gradient_at_all(small_space, base, exact_data, mixed_codes):
    """Every weight that is 0 because a code prunes it: a slim network does not have it, so it must not learn."""
    network = stack(small_space, base, mixed_codes).train()
    images, labels = exact_data.normalise(exact_data.train.images), exact_data.train.labels
    losses = [nn.functional.cross_entropy(logits, labels) for logits in network(images).unbind(1)]
    torch.stack(losses).sum().backward()
    checked = 0
    for layer in small_space.layers:
        if layer.kind != "conv":
            continue
        gradient = network.network.get_submodule(layer.name).weight.grad.unflatten(0, (len(mixed_codes), -1))
        for code, own in zip(mixed_codes, gradient, strict=True):
            pruned = code[small_space.segment(layer.outputs).slice] == 0
            assert not own[torch.from_numpy(pruned)].any()
            assert own[torch.from_numpy(~pruned)].any()
            checked += pruned.sum()
            if layer.inputs != "image":
                assert not own[:, torch.from_numpy(code[small_space.segment(layer.inputs).slice] == 0)].any()
    assert checked > 100


def test_a_number_of_codes_that_does_not_fill_it_is_a_mistake(small_space, base, mixed_codes):
    with pytest.raises(AssertionError, match="2 codes for 3 candidates"):
        stack_of_three = StackedNetwork(small_space, 3, CPU.device)
        stack_of_three.load(base, mixed_codes[:2], changes_of(small_space, base, mixed_codes[:2]))
