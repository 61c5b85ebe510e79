"""A slim network and its wider twin: the same outputs, the same training, and zeros that stay zeros."""

import copy

import numpy as np
import pytest
import torch
from helpers import few_digits
from strangers import STRANGERS
from torch import Tensor, nn

from evoprune import slim_network
from evoprune.config import TrainingConfig
from evoprune.networks.traced import trace_search_space
from evoprune.pruning.widening import widen
from evoprune.training.loop import train


@pytest.fixture
def code(small_space):
    """One without adapters; its widths are 3, 3, 5, ... of 4, 4, 8, ..."""
    code = small_space.full_code()
    for group in small_space.groups:
        bits = group.of(code).copy()
        bits[1::3] = 0
        group.put(code, bits)
    assert not small_space.adapters(code)
    return small_space.repair(code)


def few_images(count: int = 8) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_twin_has_widths_of_multiples_and_computes_the_same(small_space, small_base, code):
    slim = slim_network(small_space, small_base, code)
    twin = widen(small_space, (small_base, slim), code, 4, few_images()).network
    widths = [module.out_channels for module in twin.modules() if isinstance(module, nn.Conv2d)]
    assert all(width % 4 == 0 for width in widths)
    assert widths != [module.out_channels for module in small_base.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        torch.testing.assert_close(twin(few_images()), slim(few_images()), rtol=1e-4, atol=1e-5)


def test_a_twin_learns_what_the_slim_network_learns(small_space, small_base, code):
    data, recipe = few_digits(64), TrainingConfig(epochs=2, batch_size=16, lr=0.02)
    slim = slim_network(small_space, small_base, code)
    twin = widen(small_space, (small_base, slim), code, 4, few_images())
    around = [name for name, value in twin.network.state_dict().items() if value.numel() > len(twin.places[name])]
    list(train(twin.network, data, recipe))
    state = {name: value.clone() for name, value in twin.network.state_dict().items()}
    given_back = slim_network(small_space, small_base, code)
    twin.give_back(given_back)
    list(train(slim, data, recipe))
    for name, value in slim.state_dict().items():
        torch.testing.assert_close(given_back.state_dict()[name], value, rtol=1e-2, atol=1e-3)
    assert around
    for name in around:
        flat = state[name].reshape(-1)
        flat[twin.places[name]] = 0
        assert not flat.any(), name


def test_nothing_is_widened_where_all_widths_are_right_or_an_adapter_is_needed(small_space, small_base, mixed_codes):
    full = small_space.full_code()
    assert widen(small_space, (small_base, small_base), full, 4, few_images()) is None
    odd = next(code for code in mixed_codes if small_space.adapters(code))
    assert widen(small_space, (small_base, slim_network(small_space, small_base, odd)), odd, 4, few_images()) is None


def test_a_network_with_tensors_that_cannot_be_numbered_has_no_twin(small_space, small_base, code):
    """A mask of bits, say: which of its elements is which could not be told."""
    slim = slim_network(small_space, small_base, code)
    assert widen(small_space, (small_base, slim), code, 4, few_images()) is not None
    small_base.register_buffer("mask", torch.ones(3, dtype=torch.bool))
    assert widen(small_space, (small_base, slim), code, 4, few_images()) is None


class Gated(nn.Module):
    """Its gate reads channels that are 0.5 where nothing comes in."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.inside, self.gate, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head((x * self.gate(torch.sigmoid(self.inside(x)))).mean((2, 3)))


NETWORKS = {**{name: lambda make=make: make(in_channels=1) for name, make in STRANGERS.items()}, "gated": Gated}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_has_a_twin_that_learns_the_same_or_none(name):
    torch.manual_seed(0)
    base = NETWORKS[name]().eval()
    space = trace_search_space(base, torch.zeros(2, 1, 8, 8))
    code = space.repair(np.arange(space.length) % 4 != 1)
    slim = slim_network(space, base, code)
    twin = widen(space, (base, slim), code, 4, few_images().double())
    assert (twin is None) == (name == "gated")
    if twin is not None:
        data, recipe = few_digits(64), TrainingConfig(epochs=0.75, batch_size=16, lr=0.02)
        given_back = copy.deepcopy(slim)
        list(train(twin.network, data, recipe))
        twin.give_back(given_back)
        list(train(slim, data, recipe))
        for key, value in slim.state_dict().items():
            torch.testing.assert_close(given_back.state_dict()[key], value, rtol=1e-6, atol=1e-8)
