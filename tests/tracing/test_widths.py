"""Numbers in a forward that do not follow the width: found, pinned by name, and the rest is free."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import Forward, pinned, trace_exactly, widths

from evoprune.tracing.widths import _Trial


def network(hidden, last: int = 8) -> nn.Module:
    return Forward(
        lambda net, x: net.last(hidden(net, F.relu(net.middle(F.relu(net.first(x)))))),
        first=nn.Conv2d(3, 6, 3, padding=1), middle=nn.Conv2d(6, 8, 3, padding=1), last=nn.Linear(last, 4),
    )  # fmt: skip


def pooled(x):
    return x.mean((2, 3))


def shuffle(x, groups: int, size: int):
    return x.view(len(x), groups, size, 8, 8).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize(("hidden", "place"), [
    (lambda net, x: pooled(x).view(-1, 8), "view"),
    (lambda net, x: pooled(shuffle(x, 2, 4)), "view"),
    (lambda net, x: torch.cat([part.flatten(2).sum(2) for part in x.split(4, 1)], 1), "split"),
    (lambda net, x: pooled(torch.cat([x[:, :4], x[:, 4:].relu()], 1)), "slice"),
    (lambda net, x: pooled(x.mean((2, 3), keepdim=True).expand(-1, 8, 2, 2)), "expand"),
])  # fmt: skip
def test_a_fixed_number_pins_what_it_concerns(hidden, place):
    table = trace_exactly(network(hidden))
    assert widths(table) == {"first": 6}
    assert pinned(table) == {f"the forward has its width fixed: {place} in the network itself": ("middle",)}


@pytest.mark.parametrize("hidden", [
    lambda net, x: pooled(x).view(-1, x.shape[1]),
    lambda net, x: pooled(shuffle(x, 2, x.shape[1] // 2)),
    lambda net, x: torch.cat([part.flatten(2).sum(2) for part in x.split(x.shape[1] // 2, 1)], 1),
    lambda net, x: pooled(torch.cat([x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :].relu()], 1)),
    lambda net, x: pooled(x.mean((2, 3), keepdim=True).expand(-1, x.shape[1], 2, 2)),
])  # fmt: skip
def test_the_same_numbers_computed_from_the_width_pin_nothing(hidden):
    table = trace_exactly(network(hidden))
    assert sum(segment.width for segment in table.segments if segment.name.startswith("middle")) in (4, 8)
    assert pinned(table) == {}


def test_a_width_that_no_operator_shows_is_found_segment_by_segment():
    def hidden(net, x):
        assert x.shape[1] == 8
        return pooled(x)

    table = trace_exactly(network(hidden))
    assert widths(table) == {"first": 6}
    assert pinned(table) == {"the forward has its width fixed: middle": ("middle",)}


def test_a_branch_on_two_widths_at_once_leaves_nothing_free():
    def hidden(net, x):
        assert net.first.out_channels + net.middle.out_channels in (14, 10, 11)
        return pooled(x)

    table = trace_exactly(network(hidden))
    assert widths(table) == {}
    assert pinned(table) == {"the forward has its width fixed: somewhere": ("first", "middle")}


def test_a_depthwise_convolution_by_hand_with_fixed_groups_is_found():
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 1, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.weight, groups=8)

    made = network(lambda net, x: pooled(net.depth(x)))
    made.add_module("depth", ByHand())
    table = trace_exactly(made)
    assert widths(table) == {"first": 6}
    assert pinned(table) == {"the forward has its width fixed: middle": ("middle",)}


def test_a_network_with_a_tensor_that_cannot_leave_its_device_is_tried_there():
    scale = torch.ones(1)
    table = trace_exactly(network(lambda net, x: pooled(x * scale).view(-1, 8)))
    assert widths(table) == {"first": 6}


def test_a_narrow_network_that_runs_and_cannot_be_exported_is_not_trusted():
    def hidden(net, x):
        assert net.middle.out_channels == 8 or type(x) is torch.Tensor
        return pooled(x).view(x.shape[:2])

    table = trace_exactly(network(hidden))
    assert widths(table) == {"first": 6}
    assert pinned(table) == {"the forward has its width fixed: view in the network itself": ("middle",)}


def test_of_many_blocks_those_with_fixed_widths_are_found_with_few_runs(monkeypatch):
    def block(net, x):
        for index, layer in enumerate(net.blocks):
            size = 4 if index in (3, 11) else layer.out_channels // 2
            x = torch.cat([part.relu() for part in layer(x).split(size, 1)][::-1], 1)
        return pooled(x)

    made = network(block)
    made.blocks = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(16))
    ran = []
    monkeypatch.setattr(_Trial, "runs", lambda trial, some, runs=_Trial.runs: ran.append(some) or runs(trial, some))
    table = trace_exactly(made)
    fixed = {name for reason, layers in pinned(table).items() for name in layers}
    assert fixed == {"blocks.3", "blocks.11"}
    assert len(ran) < 25


def test_a_line_of_code_that_fixes_its_width_does_so_wherever_it_is_used(monkeypatch):
    def block(net, x):
        for layer in net.blocks:
            x = torch.cat([part.relu() for part in layer(x).split(4, 1)][::-1], 1)
        return pooled(x)

    made = network(block)
    made.blocks = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(16))
    ran = []
    monkeypatch.setattr(_Trial, "runs", lambda trial, some, runs=_Trial.runs: ran.append(some) or runs(trial, some))
    table = trace_exactly(made)
    assert widths(table) == {"first": 6, "middle": 8} and len(ran) < 6
