"""Counts on a network, by hand and against torch's own counter."""

import torch
from strangers import Attention
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evoprune import compute_costs
from evoprune.networks.counts import Counts, count, count_costs
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


def test_products_of_activations_are_no_layers():
    network, image = Attention().eval(), torch.zeros(1, 3, 8, 8)
    wanted = {"flops": 64 * 27 * 4 + 64 * 16 + 8, "params": 112 + 20 + 10}
    assert count_costs(network, image) == wanted
    found = count(network, image)
    assert {"flops": found.flops, "params": found.params} == wanted
