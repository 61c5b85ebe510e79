"""Operators that only move, join or cut: their labels by hand, and whole networks against masked ones."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import Forward, images, pinned, trace_exactly, widths

from evoprune.tracing.moves import _blocks
from evoprune.tracing.surgery import narrow


def pooled(x):
    return x.mean((2, 3))


def convolution(inputs: int, outputs: int, **keys) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **keys)


def middle(forward, last: int = 8, **layers: nn.Module) -> nn.Module:
    """A network whose first layer has 8 channels and whose last reads what `forward` makes of them."""
    return Forward(
        lambda net, x: pooled(net.last(forward(net, F.relu(net.first(x))))),
        first=convolution(3, 8), **layers, last=nn.Conv2d(last, 4, 1),
    )  # fmt: skip


def read_bits(table, name: str = "last.weight") -> list[int]:
    """The bits of the inputs of the last layer."""
    (row,) = [row for row in table.tensors if row.name == name]
    return row.bits[1].tolist()


def test_concatenation_joins_labels_in_order():
    network = middle(lambda net, x: torch.cat([net.one(x), x, net.other(x)], 1), 17, one=convolution(8, 5),
                     other=convolution(8, 4))  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 8, "one": 5, "other": 4}
    assert read_bits(table) == [*range(8, 13), *range(8), *range(13, 17)]


def test_concatenation_with_the_image_leaves_the_image_whole():
    network = Forward(lambda net, x: pooled(net.last(torch.cat([x, net.first(x)], 1))), first=convolution(3, 6),
                      last=nn.Conv2d(9, 4, 1))  # fmt: skip
    table = trace_exactly(network)
    assert read_bits(table) == [-1, -1, -1, *range(6)]


def test_concatenation_along_another_axis_ties_channels():
    network = middle(lambda net, x: torch.cat([x, net.one(x)], 2), one=convolution(8, 8))
    assert widths(trace_exactly(network)) == {"first": 8}


def test_stack_ties_channels():
    network = middle(lambda net, x: torch.stack([x, net.one(x)]).amax(0), one=convolution(8, 8))
    assert widths(trace_exactly(network)) == {"first": 8}


def test_halves_of_a_chunk_keep_equally_many():
    def gated(net, x):
        one, other = net.wide(x).chunk(2, dim=1)
        return torch.cat([net.one(one), other], 1)

    table = trace_exactly(middle(gated, 9, wide=convolution(8, 12), one=convolution(6, 3)))
    assert widths(table) == {"first": 8, "wide": 6, "wide:2": 6, "one": 3}
    assert [parts.bits.tolist() for parts in table.parts] == [[[*range(8, 14)], [*range(14, 20)]]]


def test_a_gated_unit_ties_its_halves():
    def gated(net, x):
        one, other = net.wide(x).chunk(2, dim=1)
        return one * torch.sigmoid(other)

    table = trace_exactly(middle(gated, 6, wide=convolution(8, 12)))
    assert widths(table) == {"first": 8, "wide": 6}
    assert table.parts == ()


def test_unequal_pieces_of_a_chunk_are_pinned():
    table = trace_exactly(middle(lambda net, x: x.chunk(3, 1)[0], 3))
    assert pinned(table) == {"parts of one channel: chunk in the network itself": ("first",)}


@pytest.mark.parametrize("cut", [lambda x: x.split(x.shape[1] // 2, 1), lambda x: x.tensor_split(2, 1)])
def test_a_split_that_follows_the_width_is_followed(cut):
    def halves(net, x):
        one, other = cut(x)
        return torch.cat([net.one(one), net.other(other)], 1)

    table = trace_exactly(middle(halves, 9, one=convolution(4, 3), other=convolution(4, 6)))
    assert widths(table) == {"first": 4, "first:2": 4, "one": 3, "other": 6}


def test_split_into_unequal_pieces_keeps_their_shares():
    def pieces(net, x):
        quarter = x.shape[1] // 4
        one, other = x.split([quarter, x.shape[1] - quarter], 1)
        return torch.cat([net.one(one), other], 1)

    table = trace_exactly(middle(pieces, 9, one=convolution(2, 3)))
    assert widths(table) == {"first": 2, "first:2": 6, "one": 3}
    assert [parts.bits.tolist() for parts in table.parts] == [[[0, 1], [2, 3], [4, 5], [6, 7]]]


def test_slices_that_follow_the_width_are_followed():
    def halves(net, x):
        half = x.shape[1] // 2
        return x[:, :half] + net.one(x.narrow(1, half, half))

    table = trace_exactly(middle(halves, 4, one=convolution(4, 4)))
    assert widths(table) == {"first": 4, "first:2": 4}


def test_every_second_channel_is_pinned():
    table = trace_exactly(middle(lambda net, x: x[:, ::2], 4))
    assert widths(table) == {} and list(pinned(table).values()) == [("first",)]


def test_channels_that_are_taken_one_by_one_are_pinned():
    table = trace_exactly(middle(lambda net, x: x[:, 0][:, None] * net.one(x), one=convolution(8, 8)))
    assert widths(table) == {"one": 8}
    assert pinned(table) == {"channels taken one by one: select in the network itself": ("first",)}


def shuffle(x, groups: int):
    batch, channels, *size = x.shape
    return x.view(batch, groups, channels // groups, *size).transpose(1, 2).reshape(batch, channels, *size)


def test_a_channel_shuffle_keeps_the_same_positions_of_each_group():
    table = trace_exactly(middle(lambda net, x: shuffle(net.one(x), 2), 6, one=convolution(8, 6)))
    assert widths(table) == {"first": 8, "one": 3}
    assert read_bits(table) == [8, 8, 9, 9, 10, 10]


def test_grouped_convolutions_with_a_shuffle_between_them():
    network = middle(lambda net, x: net.two(shuffle(net.one(x), 2)), 6, one=convolution(8, 6, groups=2),
                     two=convolution(6, 6, groups=3))  # fmt: skip
    table = trace_exactly(network)
    assert widths(table)["one"] == 3


def test_flatten_repeats_each_channel():
    network = nn.Sequential(convolution(3, 4), nn.Flatten(), nn.Linear(4 * 64, 4))
    assert read_bits(trace_exactly(network), "2.weight") == np.repeat(range(4), 64).tolist()


def test_flatten_of_channels_last_tiles_them():
    network = Forward(lambda net, x: net.last(net.first(x).permute(0, 2, 3, 1).flatten(1)), first=convolution(3, 4),
                      last=nn.Linear(4 * 64, 4))  # fmt: skip
    assert read_bits(trace_exactly(network)) == np.tile(range(4), 64).tolist()


@pytest.mark.parametrize("view", [
    lambda x: x.view(len(x), -1),
    lambda x: x.view(len(x), x.shape[1] * 64),
    lambda x: x.flatten(2).unflatten(1, (-1, 1)).squeeze(2).flatten(1),
    lambda x: x.unsqueeze(1).transpose(1, 2).flatten(1),
    lambda x: x.reshape(len(x), x.shape[1], 64).movedim(1, 2).mT.transpose(0, 0).flatten(1),
    lambda x: x.expand(-1, -1, -1, -1).flatten(1),
])  # fmt: skip
def test_views_that_follow_the_width(view):
    network = Forward(lambda net, x: net.last(view(net.first(x))), first=convolution(3, 4), last=nn.Linear(256, 4))
    assert widths(trace_exactly(network)) == {"first": 4}


def test_squeeze_without_a_dimension_is_pinned():
    network = Forward(lambda net, x: net.last(net.first(x).mean((2, 3), keepdim=True).squeeze()),
                      first=convolution(3, 4), last=nn.Linear(4, 4))  # fmt: skip
    assert pinned(trace_exactly(network)) == {"squeezed where they are one: squeeze in the network itself": ("first",)}


def test_channels_that_share_an_axis_with_others_are_pinned():
    network = middle(lambda net, x: (pooled(net.one(x))[:, :, None] * pooled(x)[:, None]).flatten(1)[..., None, None],
                     40, one=convolution(8, 5))  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {}
    reason = "reshaped in a way that channels cannot be followed: flatten in the network itself"
    assert pinned(table) == {reason: ("one", "first")}


class Shortcut(nn.Module):
    """The shortcut without parameters of ResNets for CIFAR (option A), as a module."""

    def __init__(self, pad: int):
        super().__init__()
        self.pad = pad

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, is_module: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2
        self.shortcut = Shortcut(self.pad) if is_module else None

    def forward(self, x):
        y = self.norm(self.conv2(F.relu(self.conv1(x))))
        y += self.shortcut(x) if self.shortcut else F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y)


def option_a(is_module: bool) -> nn.Module:
    return Forward(lambda net, x: net.last(pooled(net.blocks(F.relu(net.first(x))))), first=convolution(3, 4),
                   blocks=nn.Sequential(Block(4, 8, is_module), Block(8, 16, is_module)),
                   last=nn.Linear(16, 5))  # fmt: skip


def test_zero_padded_shortcuts_that_are_modules_leave_every_channel_free():
    table = trace_exactly(option_a(is_module=True))
    trunk = {name: width for name, width in widths(table).items() if "conv1" not in name}
    assert trunk == {"first": 4, "blocks.0.conv2": 4, "blocks.1.conv2": 8}
    stages = [4, 5, *range(0, 4), 6, 7]  # order of the bits of the second stage, counted inside the trunk
    first, second = (table.segments[index].start for index, segment in enumerate(table.segments)
                     if segment.name in ("first", "blocks.0.conv2"))  # fmt: skip
    expected = [second + bit - 4 if bit > 3 else first + bit for bit in stages]
    (row,) = [row for row in table.tensors if row.name == "blocks.0.conv2.weight"]
    assert row.bits[0].tolist() == expected


def test_zero_padding_inside_a_forward_pins_what_meets_the_zeros():
    table = trace_exactly(option_a(is_module=False))
    assert {name: width for name, width in widths(table).items() if "conv1" not in name} == {"first": 4}
    assert [reason for reason in pinned(table)] == [
        "a fixed number of constant channels: pad in blocks.0", "a fixed number of constant channels: pad in blocks.1",
    ]  # fmt: skip


def test_a_narrow_network_with_padding_modules_can_be_copied_and_learns():
    network = option_a(is_module=True)
    table = trace_exactly(network)
    slim = narrow(table, network, np.arange(table.length) % 2).train()
    slim(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in slim.parameters())


def test_a_shortcut_padded_by_a_product_with_zero():
    network = middle(lambda net, x: torch.cat([x, x.mul(0)], 1) + net.one(x), 16, one=convolution(8, 16))
    assert widths(trace_exactly(network)) == {"first": 8}


def test_blocks_of_a_reshape_are_the_smallest():
    assert _blocks((2, 6, 4, 4), (2, 3, 2, 16)) == [
        (range(0, 1), range(0, 1)), (range(1, 2), range(1, 3)), (range(2, 4), range(3, 4)),
    ]  # fmt: skip
    assert _blocks((2, 5, 1, 1), (2, 5))[-1] == (range(3, 4), range(2, 2))


@pytest.mark.parametrize("grown", [torch.Tensor.expand_as, torch.Tensor.view_as, torch.Tensor.reshape_as])
def test_a_tensor_with_the_sizes_of_another_has_its_channels(grown):
    network = middle(lambda net, x: grown(pooled(net.one(x))[:, :, None, None], pooled(x)[:, :, None, None]),
                     one=convolution(8, 8))  # fmt: skip
    assert widths(trace_exactly(network)) == {"first": 8}


def test_channels_that_are_squeezed_by_name_are_pinned_and_others_are_not():
    network = middle(lambda net, x: net.one(x).squeeze(1), one=convolution(8, 8))
    table = trace_exactly(network)
    assert widths(table) == {"first": 8}
    assert pinned(table) == {"squeezed where they are one: squeeze in the network itself": ("one",)}
    network = middle(lambda net, x: x.amax((2, 3), keepdim=True).squeeze(3).squeeze(2)[:, :, None, None])
    assert widths(trace_exactly(network)) == {"first": 8}
