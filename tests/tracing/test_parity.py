"""The parity gate: it lets exact networks pass, and names the segments of which a narrow network differs."""

import pytest
import torch
from strangers import STRANGERS, FixedWidth
from torch import nn
from traced import images, ready

from evoprune import trace_search_space
from evoprune.tracing.parity import failing_segments


@pytest.mark.parametrize("name", STRANGERS)
def test_exact_networks_pass(name):
    network = STRANGERS[name]().eval()
    space = trace_search_space(network, images())
    assert failing_segments(space.table, network, images()) == []


def test_a_forward_that_knows_its_width_fails_by_name():
    network = FixedWidth().eval()
    space = trace_search_space(network, images())
    assert failing_segments(space.table, network, images()) == ["stem"]


class Pair(nn.Module):
    """Wrong only where both of its layers are narrower."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.c(self.b(self.a(x)).relu()).mean((2, 3))
        return x + 1 if self.a.out_channels < 4 and self.b.out_channels < 4 else x


def test_segments_that_fail_together_only_are_found():
    network = Pair().eval()
    space = trace_search_space(network, images())
    assert set(failing_segments(space.table, network, images())) == {"a", "b"}


def test_the_network_is_left_as_it_is():
    network = ready(STRANGERS["branches"]()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    space = trace_search_space(network, images())
    failing_segments(space.table, network, images())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
