"""Surgery: what stays of the user's own module, and a masked network that knows nothing of the narrow one."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import images, ready

from evoprune import UserError, trace_search_space
from evoprune.tracing.surgery import masked, narrow
from evoprune.tracing.trace import trace_channels


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.out = nn.Linear(6, 4)
        self.register_buffer("shift", torch.rand(6, 1, 1), persistent=False)
        self.note = "the user's own"

    def forward(self, x):
        return self.out((F.relu(self.norm(self.conv(x))) + self.shift).mean((2, 3)))


CODE = [0, 1, 0, 0, 1, 1]


@pytest.fixture
def network() -> nn.Module:
    return ready(Net())


@pytest.fixture
def table(network):
    return trace_channels(network, images())


def test_class_names_and_what_else_the_module_has_stay(network, table):
    slim = narrow(table, network, CODE)
    assert type(slim) is Net and slim.note == network.note
    assert list(slim.state_dict()) == list(network.state_dict())
    assert (slim.conv.out_channels, slim.norm.num_features, slim.out.in_features) == (3, 3, 3)
    assert slim.shift.shape == (3, 1, 1)


def test_every_kept_value_is_the_one_it_was(network, table):
    slim, kept = narrow(table, network, CODE), [1, 4, 5]
    for name in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        assert torch.equal(slim.state_dict()[name], network.state_dict()[name][kept]), name
    assert torch.equal(slim.out.weight, network.out.weight[:, kept])
    assert torch.equal(slim.out.bias, network.out.bias)


def test_narrow_is_what_the_network_computes_without_the_channels(network, table):
    mask = torch.tensor(CODE).view(1, 6, 1, 1)
    x = images()
    hidden = (F.relu(network.norm(network.conv(x))) + network.shift) * mask
    expected = network.out(hidden.mean((2, 3)))
    torch.testing.assert_close(narrow(table, network, CODE)(x), expected)
    torch.testing.assert_close(masked(table, network, CODE)(x), expected)


def test_the_network_is_left_as_it_is_and_shares_no_memory(network, table):
    before = copy.deepcopy(network.state_dict())
    for code in (CODE, table.full_code()):
        for copied in (narrow(table, network, code), masked(table, network, code)):
            with torch.no_grad():
                for value in copied.state_dict().values():
                    value.zero_()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_frozen_parameters_are_those_of_the_network(network, table, training):
    network.train(training)
    network.conv.weight.requires_grad_(False)
    slim = narrow(table, network, CODE)
    assert slim.training is training and slim.conv.training is training
    assert not slim.conv.weight.requires_grad and slim.out.weight.requires_grad


def test_a_narrow_network_learns_and_can_be_pickled(network, table):
    slim = pickle.loads(pickle.dumps(narrow(table, network, CODE))).train()
    slim(images()).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in slim.parameters())


def test_narrow_of_a_narrow_network_by_its_own_table(network, table):
    slim = narrow(table, network, CODE)
    again = narrow(trace_channels(slim, images()), slim, [0, 1, 1])
    expected = narrow(table, network, [0, 0, 0, 0, 1, 1])
    assert torch.equal(again(images()), expected(images()))


def test_groups_stay_where_one_input_of_each_is_left_and_outputs_go_next():
    """It looks like a depthwise convolution then, whose groups go with its inputs."""
    network = ready(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=4), nn.Flatten(), nn.Linear(576, 2)))
    space = trace_search_space(network, images())
    first = [1, 0] * 4 + [1] * 16
    slim = narrow(space.table, network, first)
    again = narrow(space.slim(first).table, slim, [1] * 4 + [1, 0, 0, 1] * 4)
    assert (again[1].groups, again[1].in_channels, again[1].out_channels) == (4, 4, 8)
    expected = masked(space.table, network, [1, 0] * 4 + [1, 0, 0, 1] * 4)
    torch.testing.assert_close(again(images()), expected(images()))


def test_codes_are_repaired_or_refused(network, table):
    assert narrow(table, network, np.zeros(6)).conv.out_channels == 1
    for change in (narrow, masked):
        with pytest.raises(UserError, match="6 bits"):
            change(table, network, [1, 0])
