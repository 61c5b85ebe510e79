"""Counts on a network, by hand and against torch's own counter."""

import pytest
import torch
import torch.nn.functional as F
from strangers import Attention
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evoprune import compute_costs
from evoprune.networks.counts import Counts, count
from evoprune.networks.sparse_linear import to_csr


def test_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[0].weight[0] = 0  # 9 of 36
        network[4].weight.fill_(1)
        network[4].weight[:, 4:] = 0  # 60 of 80
        network[0].bias.fill_(1)
        network[4].bias.fill_(0)
        network[1].bias.fill_(2)
    found = count(network, torch.zeros(1, 2, 4, 4))
    assert found == Counts(36 + 4 + 8 + 80 + 5, 27 + 4 + 8 + 20, 36 * 4 + 80, 27 * 4 + 20)
    assert network.training

    to_csr(network, ["4"])
    assert count(network, torch.zeros(1, 2, 4, 4)) == Counts(
        36 + 4 + 8 + 20 + 5, 27 + 4 + 8 + 20, 36 * 4 + 20, 27 * 4 + 20
    )


def test_as_the_search_space_and_torch_count(small_space, small_base):
    found = count(small_base, torch.zeros(1, 1, 8, 8))
    costs = compute_costs(small_space, small_space.full_code())
    assert (found.flops, found.params) == (costs["flops"][0], costs["params"][0])
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        small_base(torch.zeros(1, 1, 8, 8))
    assert found.flops == counter.get_total_flops() // 2


class Windows(nn.Module):
    """Four windows of a map go through a layer as if they were images."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x):
        x = self.first(x).unflatten(2, (2, 4)).unflatten(4, (2, 4)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        return self.second(x).mean((2, 3)).unflatten(0, (-1, 4)).mean(1)


class Tokens(nn.Module):
    """Self-attention as torch has it, which takes one operator for all of it where nothing is learnt."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return self.attention(x, x, x, need_weights=False)[0].mean(1)


class Functional(nn.Conv2d):
    """Another layer in place of its own forward."""

    def forward(self, x):
        return F.conv2d(x, self.weight[:2]).flatten(1)


@pytest.mark.parametrize(
    ("network", "shape", "flops"),
    [
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2)), (1, 3, 5, 5), 25 * 3 * 4 * 4),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), 25 * 4 * 3 * 9),
        (Windows(), (1, 3, 8, 8), 64 * 3 * 4 + 64 * 4 * 5 * 9),
        (Tokens(), (1, 4, 3, 3), 9 * 4 * 4 * 4),
        (Functional(3, 4, 1), (1, 3, 2, 2), 4 * 3 * 2),
    ],
)
def test_layers_that_are_used_in_odd_ways(network, shape, flops):
    image = torch.zeros(shape)
    assert count(network, image).flops == flops
    assert torch.backends.mha.get_fastpath_enabled()


def test_products_of_activations_are_no_layers():
    network, image = Attention().eval(), torch.zeros(1, 3, 8, 8)
    found = count(network, image)
    assert (found.flops, found.params) == (64 * 27 * 4 + 64 * 16 + 8, 112 + 20 + 10)
