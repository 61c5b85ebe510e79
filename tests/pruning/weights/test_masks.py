"""Masks: the smallest go, masks are nested, and those of a code are what its slim network inherits."""

import numpy as np
import pytest
import torch
from helpers import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from evoprune import slim_network
from evoprune.pruning.weights.masks import apply_masks, both, code_masks, from_here, smallest_out, sparsity
from evoprune.pruning.weights.sparsities import Group
from evoprune.tracing.surgery import masked, narrow
from evoprune.tracing.trace import trace_channels


def two_layers(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))


BOTH = ("0.weight", "2.weight")


def test_the_smallest_weights_go_by_hand():
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.1, -3.0, 0.0], [2.0, -0.1, 0.5]]))
    masks = smallest_out(network, [Group(("weight",), 0.5)])
    assert masks["weight"].tolist() == [[False, True, False], [True, False, True]]
    apply_masks(network, masks)
    assert network.weight.tolist() == [[0, -3, 0], [2, 0, 0.5]] and network.bias.all()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.95, 1.0])
def test_masks_are_those_of_torch(share):
    """torch.nn.utils.prune, layer by layer and global."""
    for scope in ("layer", "global"):
        network, truth = two_layers(), two_layers()
        groups = [Group(BOTH, share)] if scope == "global" else [Group((name,), share) for name in BOTH]
        masks = smallest_out(network, groups)
        if scope == "global":
            prune.global_unstructured([(truth[0], "weight"), (truth[2], "weight")], prune.L1Unstructured, amount=share)
        for layer in (0, 2):
            if scope == "layer":
                prune.l1_unstructured(truth[layer], "weight", share)
            assert torch.equal(masks[f"{layer}.weight"], truth[layer].weight_mask.bool())
        assert sparsity(masks, BOTH) == pytest.approx(share, abs=0.01)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(0, 99), st.booleans())
def test_masks_of_rising_sparsity_are_nested_whatever_weights_become(shares, seed, many_are_equal):
    network, masks = two_layers(seed), {}
    for share in sorted(shares):
        before, masks = masks, smallest_out(network, [Group(BOTH, share)], masks)
        assert all((masks[name] <= before[name]).all() for name in before)
        assert sum(int((~mask).sum()) for mask in masks.values()) == round(share * 84)
        with torch.no_grad():  # a training that also leaves zeros where nothing is masked
            for parameter in network.parameters():
                parameter.copy_(
                    torch.randint(-1, 2, parameter.shape) if many_are_equal else torch.randn(parameter.shape)
                )
        apply_masks(network, masks)


def test_a_share_takes_that_much_of_each_group_and_never_gives_back():
    network = two_layers()
    groups = [Group(("0.weight",), 0.5), Group(("2.weight",), 1.0)]
    half = smallest_out(network, groups, share=0.5)
    assert [sparsity(half, (name,)) for name in BOTH] == [0.25, 0.5]
    assert all(torch.equal(mask, half[name]) for name, mask in smallest_out(network, groups, half, 0.1).items())


def test_a_rise_begins_with_what_is_out():
    network = two_layers()
    group = Group(BOTH, 0.9)
    masks = smallest_out(network, [Group(("0.weight",), 1.0)])
    (rising,) = from_here(network, [group], masks)
    assert rising.start == 36 / 84 and from_here(network, [Group(BOTH, 0.1)], masks)[0].start == 0.1
    counts = [sum(int((~mask).sum()) for mask in smallest_out(network, [rising], masks, share).values())
              for share in (0, 0.5, 1)]  # fmt: skip
    assert counts == [36, round((36 / 84 + 0.9) / 2 * 84), round(0.9 * 84)]


def test_masks_of_a_code_are_what_tracing_masks(small_space):
    network = scramble(nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 8, 1, bias=False),
        nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 4),
    ), 0).eval()  # fmt: skip
    example = torch.randn(5, 3, 6, 6)
    table = trace_channels(network, example)
    code = np.random.default_rng(1).integers(0, 2, table.length).astype(np.uint8)
    masks = code_masks(network, lambda copied: narrow(table, copied, code))
    truth = masked(table, network, code)
    for name, parameter in truth.named_parameters():
        own = network.get_parameter(name).detach() * masks.get(name, torch.ones(()))
        assert torch.equal(own, parameter), name
    assert masks["3.weight"].shape == (6, 1, 3, 3) and not masks["7.weight"].all()


def test_with_the_masks_of_a_code_a_network_computes_what_the_slim_one_does(small_space, small_base, mixed_codes):
    """Codes that need no adapter, as pruning without a search makes them."""
    images = torch.randn(8, 1, 8, 8)
    for code in (code for code in mixed_codes if not small_space.adapters(code)):
        masks = code_masks(small_base, lambda copied, code=code: slim_network(small_space, copied, code))
        slim = slim_network(small_space, small_base, code)
        full = slim_network(small_space, small_base, small_space.full_code())
        apply_masks(full, masks)
        with torch.no_grad():
            torch.testing.assert_close(full(images), slim(images), rtol=1e-5, atol=1e-5)
        left = sum(int(masks[name].sum()) if name in masks else p.numel() for name, p in full.named_parameters())
        assert left == sum(parameter.numel() for parameter in slim.parameters())


def test_both_keeps_what_both_keep():
    first, second = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    met = both({"a": first, "b": first}, {"b": second, "c": second})
    assert {name: mask.tolist() for name, mask in met.items()} == {
        "a": [True, True, False], "b": [True, False, False], "c": [True, False, True],
    }  # fmt: skip
