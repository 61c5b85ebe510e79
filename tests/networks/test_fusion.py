"""Fused layers in networks of strangers: the same to rounding, and to the bit what the carried network computes."""

import copy
import operator
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers import scramble
from strangers import STRANGERS
from torch import Tensor, nn

from evoprune import build_network, load_search_space
from evoprune.networks.device import Compute
from evoprune.networks.fused_layers import constant_weights
from evoprune.networks.fusion import fused

BF16 = Compute(torch.device("cpu"), bf16=True)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = short if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class PlainResNet(nn.Module):
    """ResNet-20 as a stranger writes it, with the names of the carried one."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width]
        for stage in (1, 2, 3):
            sizes = [(widths[stage - 1], widths[stage], min(stage, 2)), *[(widths[stage], widths[stage], 1)] * 2]
            self.add_module(f"layer{stage}", nn.Sequential(*(Block(*size) for size in sizes)))
        self.linear = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def images(size: int = 16) -> Tensor:
    x = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    return x.to(memory_format=torch.channels_last)


def outputs(network: nn.Module) -> list[Tensor]:
    """Logits and gradients of a training step, then logits in eval mode."""
    found = []
    for training in (True, False):
        network.train(training)
        with BF16.autocast(), torch.set_grad_enabled(training):
            found.append(network(images()).float())
        if training:
            found[0].square().sum().backward()
            found += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [value.detach().clone() for value in found]


def test_a_strangers_resnet_computes_what_the_carried_one_does_to_the_bit():
    carried = scramble(build_network(load_search_space("resnet20", width=4)), 0)
    stranger = PlainResNet(4)
    stranger.load_state_dict(carried.state_dict())
    pair = [network.to(memory_format=torch.channels_last) for network in (carried, stranger)]
    truth = outputs(pair[0])
    with fused(pair[1], BF16) as is_fused:
        assert is_fused
        found = outputs(pair[1])
    assert all(torch.equal(a, b) for a, b in zip(truth, found, strict=True))
    assert all(torch.equal(value, carried.state_dict()[name]) for name, value in stranger.state_dict().items())


@pytest.mark.parametrize("name", STRANGERS)
def test_it_is_the_same_module_and_computes_the_same(name):
    network = scramble(STRANGERS[name](), 0).to(memory_format=torch.channels_last)
    plain, names = copy.deepcopy(network), list(network.state_dict())
    with fused(network, BF16) as is_fused:
        assert is_fused and list(network.state_dict()) == names
        found = outputs(network)
    largest = max(float(one.norm()) for one in outputs(copy.deepcopy(plain)))
    for one, other in zip(outputs(plain), found, strict=True):
        assert float((one - other).norm()) < 0.05 * float(one.norm()) + 1e-3 * largest
    assert "forward" not in vars(network)


class Stem(nn.Module):
    """Two convolutions with their norms; networks that call them in odd ways."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.two, self.last = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)


class Kept(Stem):
    """What is added is needed again afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.one(x)))
        z = F.relu(self.last(self.two(y)) + y)
        return (z - y).flatten(1)


class KeptView(Stem):
    """A view of what is added is needed again afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.one(x)))
        some = y[:, :2]
        z = F.relu(self.last(self.two(F.relu(y))) + y)
        return (z[:, :2] - some).flatten(1)


class OwnInput(Stem):
    """A convolution reads what is added to its output."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.one(x)))
        return F.relu(self.last(self.two(y)) + y).flatten(1)


class Context(Stem):
    """What is added is one value for a whole map (global context)."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.one(x)))
        return F.relu(self.last(self.two(y)) + y.mean((2, 3), keepdim=True)).flatten(1)


class TwoNorms(Stem):
    """One convolution is called twice, with a norm for each call."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.last(self.one(F.relu(self.norm(self.one(x)))))).flatten(1)


class AddedTo(Stem):
    """A norm is added to a tensor that has a second name."""

    def forward(self, x: Tensor) -> Tensor:
        y = x = self.norm(self.one(x))
        x += self.last(self.two(F.relu(y)))
        return (x * 2 - y).flatten(1)


class Scaled(Stem):
    """What a layer puts out is changed by more than an addition, and read by its first name."""

    def forward(self, x: Tensor) -> Tensor:
        y = x = self.norm(self.one(x))
        x *= 2
        x -= 1
        x /= 3
        return F.relu(self.last(self.two(y))).flatten(1)


@pytest.mark.parametrize("kind", [Kept, KeptView, OwnInput, Context, TwoNorms, AddedTo, Scaled])
def test_odd_calls_compute_what_they_say(kind):
    network = scramble(kind(), 0).to(memory_format=torch.channels_last)
    plain = copy.deepcopy(network).eval()
    with fused(network, BF16), torch.no_grad(), BF16.autocast(), constant_weights():
        found = network.eval()(images())
    with torch.no_grad(), BF16.autocast():
        torch.testing.assert_close(plain(images()), found, rtol=0.05, atol=0.05)
    truth = outputs(plain.train())
    with fused(network, BF16):
        for one, other in zip(truth, outputs(network.train()), strict=True):
            assert float((one - other).norm()) < 0.1 * float(one.norm())


class InPlace(nn.Module):
    """What a convolution reads is changed before its norm runs."""

    def __init__(self, change: Callable[[Tensor], Tensor]):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sin(x)
        y = self.one(x)
        self.change(x)
        return (F.relu(self.norm(y)) + x).flatten(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.mul_(0),
        lambda x: torch.clamp(x, max=0.1, out=x),
        lambda x: F.relu(x, True),
        lambda x: operator.imul(x, 2),
    ],
)
def test_what_changes_in_place_is_left_alone(change):
    network = scramble(InPlace(change), 0).eval()
    with torch.no_grad():
        truth = network(images())
        with fused(network, BF16):
            assert torch.equal(network(images()), truth)


class Branching(Kept):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def test_what_cannot_be_read_runs_as_it_is():
    network = Branching()
    with fused(network, BF16) as is_fused:
        assert not is_fused and "forward" not in vars(network)
    assert network.training


class StochasticDepth(Kept):
    """Its own code draws whether a block is skipped in this step."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if self.training and torch.rand(1).item() < 0.5 else super().forward(x)


class Noisy(Kept):
    """Its own code draws how strong it is in this step."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * random.random()


@pytest.mark.parametrize("kind", [StochasticDepth, Noisy])
def test_what_a_networks_own_code_draws_is_drawn_in_each_step(kind):
    network = kind()
    with fused(network, BF16) as is_fused, torch.no_grad():
        found = {float(network(images()).sum()) for _ in range(20)}
    assert not is_fused and len(found) > 1


@pytest.mark.parametrize(
    "compute", [Compute(torch.device("cpu"), bf16=False), Compute(torch.device("cuda"), bf16=True)]
)
def test_elsewhere_nothing_is_fused(compute):
    with fused(Kept(), compute) as is_fused:
        assert not is_fused


def test_dropout_and_other_things_that_know_the_mode_follow_it():
    plain = nn.Sequential(Kept(), nn.Dropout(0.5))
    with fused(plain, BF16) as is_fused, torch.no_grad():
        assert is_fused
        assert (plain.train()(images()) == 0).float().mean() > 0.4
        assert torch.equal(plain.eval()(images()), plain.eval()(images()))


def test_inside_another_one_nothing_more_is_done():
    network = Kept()
    with fused(network, BF16) as outer, fused(network, BF16) as inner:
        assert outer and not inner and "forward" in vars(network)
    assert "forward" not in vars(network)


class OwnStatistics(nn.Module):
    def __init__(self, write: Callable[[Tensor, Tensor], object]):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Linear(8, 10)
        self.write = write
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x))).mean((2, 3))
        self.write(self.mean, x.detach().mean(0))
        return self.head(x - self.mean.tanh())


WRITES = {
    "eager": lambda mean, now: mean.mul_(0.9).add_(0.1 * now),
    "copied": lambda mean, now: mean.copy_(0.9 * mean + 0.1 * now),
    "part": lambda mean, now: mean[:4].add_(0.1 * now[:4]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_forward_that_writes_its_own_buffers_is_left_as_it_is(write):
    network = scramble(OwnStatistics(write), seed=0)
    plain = copy.deepcopy(network)
    with fused(network, BF16) as is_fused:
        assert not is_fused and torch.equal(network.mean, plain.mean)
        for _ in range(3):
            assert all(map(torch.equal, outputs(network), outputs(plain)))
    assert torch.equal(network.mean, plain.mean) and network.mean.any()
