"""Batch norms that become a part of the convolutions before them."""

import pytest
import torch
import torch.nn.functional as F
from strangers import Branches, Padded
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from traced import images, ready

from evoprune.export.folding import fold_batch_norms
from evoprune.tracing.graph import export


def norms(program: torch.export.ExportedProgram) -> int:
    return sum("batch_norm" in str(node.target) for node in program.graph.nodes)


def fold(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The folded program, which computes what the network computes for a batch of another size."""
    program = fold_batch_norms(export(ready(network), example, any_batch=True), example)
    other = torch.cat([example, example + 1, example - 1])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), network(other), rtol=1e-5, atol=1e-5)
    return program


@pytest.mark.parametrize("network", [Branches(), Padded()], ids=["branches", "padded"])
def test_networks_of_strangers_compute_the_same_without_norms(network):
    assert norms(fold(network, images())) == 0


def test_a_carried_network_computes_the_same_without_norms(small_base):
    program = fold(small_base, images(channels=1))
    assert norms(program) == 0
    assert not [name for name in program.state_dict if "running" in name or "bn" in name]


@pytest.mark.parametrize("bias", [True, False])
def test_weights_are_those_of_torchs_own_fusion(bias):
    network = ready(nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias, padding="same"), nn.BatchNorm2d(4)))
    truth = fuse_conv_bn_eval(network[0], network[1])
    state = fold(network, images()).state_dict
    torch.testing.assert_close(state["folded_0_weight"], truth.weight.data)
    torch.testing.assert_close(state["folded_0_bias"], truth.bias.data)


class Shared(nn.Module):
    """A convolution that two norms follow in two calls, and one whose output is read twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4)])
        self.read_twice, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm in self.norms:
            x = norm(self.conv(x)).relu()
        x = self.read_twice(x)
        return x + self.last(x)


def test_shared_weights_are_folded_apart_and_what_is_read_twice_stays():
    assert norms(fold(Shared(), images())) == 1


class Computed(nn.Module):
    """A norm whose scale, and a convolution whose bias, is computed from a parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        norm, second = self.norm, self.second
        x = F.batch_norm(self.first(x), norm.running_mean, norm.running_var, norm.weight + 1, norm.bias)
        return self.last(F.conv2d(x, second.weight, second.bias * 2))


def test_what_is_computed_in_the_forward_is_not_folded():
    assert norms(fold(Computed(), images())) == 2
