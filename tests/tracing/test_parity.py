"""The parity gate: it lets exact networks pass, and names the segments of which a narrow network differs."""

import pytest
import torch
from strangers import STRANGERS, FixedWidth
from torch import nn
from traced import images, ready

from evoprune import UserError, trace_search_space
from evoprune.tracing.parity import failing_segments


@pytest.mark.parametrize("name", STRANGERS)
def test_exact_networks_pass(name):
    network = STRANGERS[name]().eval()
    space = trace_search_space(network, images())
    assert failing_segments(space.table, network, images()) == []


class Pair(nn.Module):
    """Wrong only where both of its layers are narrower."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.c(self.b(self.a(x)).relu()).mean((2, 3))
        return x + 1 if self.a.out_channels < 4 and self.b.out_channels < 4 else x


class Meeting(nn.Module):
    """Adds two maps where they happen to be of one width, which half of each is not."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        x = self.a(x).relu()
        y = self.b(x)
        return self.c(x + y if x.shape == y.shape else y).mean((2, 3))


class OneLess(nn.Module):
    """An axis goes where one channel is left, in code that no graph tells."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.a(x)
        return self.b(x).mean((2, 3)) if x.shape[1] > 1 else torch.zeros(len(x), 4)


FAILING = {FixedWidth: {"stem"}, Pair: {"a", "b"}, Meeting: {"b"}, OneLess: {"a"}}


@pytest.mark.parametrize("kind", FAILING)
def test_a_forward_that_looks_at_widths_fails_by_name(kind):
    network = kind().eval()
    space = trace_search_space(network, images())
    assert set(failing_segments(space.table, network, images())) == FAILING[kind]


def test_a_network_that_fails_uncut_is_told_with_its_own_error():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)).eval()
    space = trace_search_space(network, images())
    with pytest.raises(UserError, match=r"the forward of Sequential fails on images of the data.*expected input"):
        failing_segments(space.table, network, images(5))


def test_the_network_is_left_as_it_is():
    network = ready(STRANGERS["branches"]()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    space = trace_search_space(network, images())
    failing_segments(space.table, network, images())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
