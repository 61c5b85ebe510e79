"""Whole networks: evoprune's own, squeeze-and-excitation, and what cannot be read."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models
from traced import Forward, images, pinned, trace_exactly, widths

import evoprune
from evoprune import UserError
from evoprune.tracing.surgery import masked, narrow
from evoprune.tracing.trace import trace_channels


@pytest.mark.parametrize(("name", "length"), [("resnet20", 464), ("resnet32", 688), ("resnet56", 1136)])
def test_bits_of_our_own_resnets_are_those_of_their_spaces_less_what_an_identity_ties(name, length):
    space = evoprune.load_search_space(name)
    network = evoprune.build_network(space).eval()
    table = trace_channels(network, images(size=32))
    assert space.length == length and table.length == length - 16
    found, *_ = [writers for writers in table.writers.values() if "conv1" in writers]
    blocks = space.network["blocks"][0]
    assert set(found) == {"conv1", *(f"layer1.{index}.conv2" for index in range(blocks))}


def test_segments_of_resnet20_are_its_groups():
    space = evoprune.load_search_space("resnet20", width=4, image_size=8)
    table = trace_exactly(evoprune.build_network(space))
    groups = {name: group.width for group in space.groups for name in group.segments}
    for segment in table.segments:
        rows = [row for row in space.layers if row.name in table.writers[segment.name]]
        assert {groups[row.outputs] for row in rows} == {segment.width}
    assert len(table.segments) == len(space.groups)


class Excited(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        gate = self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return x * torch.sigmoid(gate)


def test_squeeze_and_excitation_ties_its_gate_and_frees_its_inside():
    network = Forward(
        lambda net, x: net.last(net.gate(F.relu(net.first(x))).mean((2, 3))),
        first=nn.Conv2d(3, 8, 3), gate=Excited(8, 3), last=nn.Linear(8, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 8, "gate.down": 3}
    assert table.writers["first"] == ("first", "gate.up")


def test_a_plain_residual_ties_what_it_adds():
    network = Forward(
        lambda net, x: net.last(F.relu(net.two(F.relu(net.one(y := F.relu(net.first(x))))) + y).mean((2, 3))),
        first=nn.Conv2d(3, 6, 3), one=nn.Conv2d(6, 5, 3, padding=1), two=nn.Conv2d(5, 6, 3, padding=1),
        last=nn.Linear(6, 4),
    )  # fmt: skip
    assert widths(trace_exactly(network)) == {"first": 6, "one": 5}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_networks_of_torchvision(name):
    network = models.get_model(name, weights=None, num_classes=7)
    table = trace_exactly(network, images(size=32))
    assert table.reach > 0.95 and pinned(table) == {}


def test_the_network_is_left_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace_channels(network, images())
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_of_which_nothing_can_be_cut_has_an_empty_table():
    table = trace_exactly(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    assert table.length == 0 and table.segments == () and table.reach == 0


def test_what_cannot_be_exported_is_one_message():
    with pytest.raises(UserError, match=r"torch\.export cannot read Sequential"):
        trace_channels(nn.Sequential(nn.Conv2d(5, 4, 3)), images())


class Captured(nn.Module):
    """Keeps a function that knows the network itself, also in a copy of it."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 1), nn.Linear(5, 4)
        self.shift = torch.ones(1)
        self.run = lambda x: F.relu(self.second(x))

    def forward(self, x):
        return self.last(self.run(self.first(x) + self.shift * torch.tensor(2.0)).mean((2, 3)))


def test_a_network_whose_copies_compute_with_its_own_layers_is_refused():
    with pytest.raises(UserError, match=r"computes with second\.weight of the network .* make that function a method"):
        trace_channels(Captured(), images())


class WithHead(nn.Module):
    """A network with an auxiliary classifier, as GoogLeNet has them: it runs in training only."""

    def __init__(self, size: int = 6):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.head = nn.Sequential(nn.Conv2d(6, 5, size), nn.ReLU(), nn.Flatten(), nn.Linear(5, 4))

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        logits = self.last(x.mean((2, 3)))
        return (logits, self.head(x)) if self.training else logits


def test_an_auxiliary_classifier_is_narrowed_too_and_costs_nothing():
    network = WithHead()
    table = trace_exactly(network)
    assert widths(table) == {"first": 6, "head.0": 5} and table.reach > 0.99
    slim, truth = (change(table, network, [1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0]) for change in (narrow, masked))
    assert slim.head[0].weight.shape[:2] == (2, 3)
    slim.training = truth.training = True  # batch norms stay in eval mode
    torch.testing.assert_close(slim(images()), truth(images()))
    slim.train()(images())[1].sum().backward()


def test_an_auxiliary_classifier_that_cannot_run_at_this_size_stays_as_it_is():
    assert widths(trace_exactly(WithHead(size=7))) == {"first": 6}


def raw(net, x):
    """Convolutions whose weights are the network's own parameters, a buffer, or computed."""
    x = F.conv2d(F.conv2d(x, net.first), net.blur, groups=net.first.shape[0])
    x = F.conv2d(F.conv2d(x, net.part.second), net.part.weight * 2)
    return net.last(F.conv2d(x, net.third.sign()).mean((2, 3)))


def test_every_layer_has_a_name_and_no_two_have_the_same():
    network = Forward(raw, part=nn.Module(), last=nn.Linear(7, 4))
    network.first = nn.Parameter(torch.randn(6, 3, 1, 1))
    network.register_buffer("blur", torch.ones(6, 1, 3, 3))
    network.part.second, network.part.weight = (nn.Parameter(torch.randn(5, size, 1, 1)) for size in (6, 5))
    network.third = nn.Parameter(torch.randn(7, 5, 1, 1))
    table = trace_exactly(network)
    names = ["first", "blur", "part.second", "forward.conv2d_1", "forward.conv2d_2", "last"]
    assert [row.name for row in table.layers] == names


class ByMode(WithHead):
    """One layer trains and another one is used in its place."""

    def __init__(self):
        super().__init__()
        self.learnt, self.used = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last((self.learnt(x) if self.training else self.used(x)).mean((2, 3)))


def test_a_layer_that_runs_in_eval_mode_only_beside_those_that_only_train_is_refused():
    with pytest.raises(UserError, match="where other layers only train, but used does not; have the forward of ByMode"):
        trace_channels(ByMode(), images())
