"""Layers with weights: what follows their channels, by hand and against masked networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import Forward, images, pinned, ready, trace_exactly, widths

from evoprune.tracing.surgery import narrow
from evoprune.tracing.trace import trace_channels


def pooled(x):
    return x.mean((2, 3))


def test_a_plain_chain_has_a_segment_for_every_layer_but_the_last():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"0": 6, "3": 5}
    rows = {row.name: [bits.tolist() for bits in row.bits] for row in table.tensors}
    first, second, stays = list(range(6)), list(range(6, 11)), [-1] * 3
    assert rows["0.weight"] == [first, stays, stays, stays] and rows["0.bias"] == [first]
    assert rows["1.weight"] == rows["1.bias"] == rows["1.running_mean"] == rows["1.running_var"] == [first]
    assert rows["1.num_batches_tracked"] == []
    assert rows["3.weight"] == [second, first, stays, stays]
    assert rows["6.weight"] == [[-1] * 4, second] and rows["6.bias"] == [[-1] * 4]


def test_a_depthwise_convolution_passes_channels_on():
    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.norm(net.depth(net.first(x)))))),
        first=nn.Conv2d(3, 6, 1), depth=nn.Conv2d(6, 6, 3, groups=6), norm=nn.BatchNorm2d(6), last=nn.Conv2d(6, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 6}
    slim = narrow(table, network, [1, 0, 0, 1, 0, 1])
    assert (slim.depth.groups, slim.depth.in_channels, slim.depth.out_channels) == (3, 3, 3)
    assert torch.equal(slim.depth.weight, network.depth.weight[[0, 3, 5]])


def test_a_depthwise_convolution_with_several_outputs_each_cuts_them_together():
    network = Forward(
        lambda net, x: pooled(net.last(net.depth(net.first(x)))),
        first=nn.Conv2d(3, 4, 1), depth=nn.Conv2d(4, 12, 3, groups=4), last=nn.Conv2d(12, 5, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 4}
    slim = narrow(table, network, [0, 1, 0, 1])
    assert (slim.depth.groups, slim.depth.out_channels) == (2, 6)
    assert torch.equal(slim.last.weight, network.last.weight[:, [3, 4, 5, 9, 10, 11]])


def test_a_grouped_convolution_keeps_equally_many_of_every_group():
    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.norm(net.grouped(F.relu(net.first(x))))))),
        first=nn.Conv2d(3, 8, 1), grouped=nn.Conv2d(8, 12, 3, groups=2), norm=nn.BatchNorm2d(12),
        last=nn.Conv2d(12, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 8, "grouped": 12}
    assert [parts.bits.tolist() for parts in table.parts] == [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [list(range(8, 14)), list(range(14, 20))],
    ]
    slim = narrow(table, network, [1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert (slim.grouped.groups, slim.grouped.in_channels, slim.grouped.out_channels) == (2, 4, 2)
    weight = network.grouped.weight
    assert torch.equal(slim.grouped.weight, torch.stack([weight[0, [0, 3]], weight[11, [1, 2]]]))


def test_transposed_convolutions_plain_and_depthwise():
    network = Forward(
        lambda net, x: pooled(net.last(net.depth(net.up(net.first(x))))),
        first=nn.Conv2d(3, 6, 1), up=nn.ConvTranspose2d(6, 5, 2, stride=2),
        depth=nn.ConvTranspose2d(5, 5, 3, groups=5), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 6, "up": 5}
    slim = narrow(table, network, [1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0])
    assert (slim.up.in_channels, slim.up.out_channels, slim.depth.groups) == (2, 3, 3)


def test_a_grouped_transposed_convolution_is_pinned():
    network = Forward(
        lambda net, x: pooled(net.last(net.up(net.first(x)))),
        first=nn.Conv2d(3, 6, 1), up=nn.ConvTranspose2d(6, 4, 2, groups=2), last=nn.Conv2d(4, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {}
    assert pinned(table) == {"groups that cannot be narrowed: conv_transpose2d in up": ("first",)}


def test_a_module_used_twice_ties_what_it_reads():
    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.twice(F.relu(net.twice(net.first(x))))))),
        first=nn.Conv2d(3, 6, 1), twice=nn.Conv2d(6, 6, 3, padding=1), last=nn.Conv2d(6, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 6}
    assert table.writers["first"] == ("first", "twice")
    assert [row.name for row in table.layers] == ["first", "twice", "twice", "last"]


def test_two_modules_that_share_a_weight_go_on_sharing_it():
    network = Forward(
        lambda net, x: pooled(net.last(net.one(net.first(x)) + net.other(net.first(x)))),
        first=nn.Conv2d(3, 6, 1), one=nn.Conv2d(6, 5, 1), other=nn.Conv2d(6, 5, 1), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    network.other.weight = network.one.weight
    table = trace_exactly(network)
    slim = narrow(table, network, [1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    assert slim.one.weight is slim.other.weight
    assert slim.one.weight.shape == (2, 1, 1, 1)


def test_hidden_layers_of_a_classifier_and_flatten_before_it():
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 9, 7), nn.BatchNorm1d(7),
        nn.PReLU(7), nn.Dropout(), nn.Linear(7, 6), nn.PReLU(), nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"0": 5, "4": 7, "8": 6}
    slim = narrow(table, network, [0, 1, 0, 0, 1] + [1] * 5 + [0] * 2 + [1] * 6)
    columns = [*range(9, 18), *range(36, 45)]
    assert torch.equal(slim[4].weight, network[4].weight[:5, columns])
    assert (slim[4].in_features, slim[4].out_features, slim[6].num_parameters) == (18, 5, 5)


def test_instance_norm_follows_its_channels():
    norm = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.norm(net.first(x))))),
        first=nn.Conv2d(3, 6, 1), norm=norm, last=nn.Conv2d(6, 4, 1),
    )  # fmt: skip
    assert widths(trace_exactly(network)) == {"first": 6}


def test_group_norm_pins_its_channels_and_the_rest_is_free():
    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.middle(F.relu(net.norm(net.first(x))))))),
        first=nn.Conv2d(3, 6, 1), norm=nn.GroupNorm(2, 6), middle=nn.Conv2d(6, 5, 3), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"middle": 5}
    assert pinned(table) == {"normalised together: group_norm in norm": ("first",)}


class LastAxis(nn.Module):
    """A block as in ConvNeXt: channels last, layer norm, two linear layers, a scale for each channel, a residual."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm, self.wide = nn.LayerNorm(channels), nn.Linear(channels, hidden)
        self.narrow, self.scale = nn.Linear(hidden, channels), nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def forward(self, x):
        y = self.narrow(F.gelu(self.wide(self.norm(self.depth(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)
        return x + y * self.scale


def test_layer_norm_pins_its_channels_and_the_inside_of_a_block_is_free():
    network = Forward(
        lambda net, x: net.last(pooled(net.block(net.first(x)))),
        first=nn.Conv2d(3, 6, 1), block=LastAxis(6, 10), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"block.wide": 10}
    assert pinned(table) == {"normalised together: layer_norm in block.norm": ("first", "block.narrow")}


def test_attention_is_pinned_and_the_rest_is_free():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x):
            return F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))

    network = Forward(
        lambda net, x: net.last(net.attend(F.relu(net.second(F.relu(net.first(x)))).flatten(2).mT).mean(1)),
        first=nn.Conv2d(3, 7, 3), second=nn.Conv2d(7, 6, 1), attend=Attention(), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 7, "second": 6}
    reason = "an operator that the tracer does not know: scaled_dot_product_attention in attend"
    assert pinned(table) == {reason: ("attend.query", "attend.key", "attend.value")}


def test_a_computed_weight_is_pinned_where_channels_are_mixed():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight, self.bias)

    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.middle(F.relu(net.first(x)))))),
        first=nn.Conv2d(3, 6, 1), middle=Standardised(6, 5, 3), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"middle": 5}
    assert pinned(table) == {"channels summed or compared: mean in middle": ("first",)}


def test_a_weight_normalised_over_what_it_reads_pins_that_and_follows_its_outputs():
    class Normalised(nn.Conv2d):
        def forward(self, x):
            rows = F.batch_norm(self.weight.reshape(1, self.out_channels, -1), None, None, training=True)
            return F.conv2d(x, rows.reshape_as(self.weight), self.bias)

    network = Forward(
        lambda net, x: pooled(net.last(F.relu(net.middle(F.relu(net.first(x)))))),
        first=nn.Conv2d(3, 6, 1), middle=Normalised(6, 5, 3), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"middle": 5}
    assert pinned(table) == {"meets channels that are never cut: conv2d in middle": ("first",)}


def test_a_weight_computed_from_the_image_is_pinned():
    network = Forward(
        lambda net, x: pooled(net.last(F.conv2d(net.first(x), net.kernel(pooled(x)).mean(0).view(5, 6, 1, 1)))),
        first=nn.Conv2d(3, 6, 1), kernel=nn.Linear(3, 30), last=nn.Conv2d(5, 4, 1),
    )  # fmt: skip
    table = trace_exactly(network)
    assert "first" not in widths(table) and "kernel" not in widths(table)


def test_linear_layers_on_channels_last():
    network = Forward(
        lambda net, x: net.last(F.relu(net.wide(net.first(x).permute(0, 2, 3, 1)))).mean((1, 2)),
        first=nn.Conv2d(3, 6, 3), wide=nn.Linear(6, 8), last=nn.Linear(8, 4),
    )  # fmt: skip
    assert widths(trace_exactly(network)) == {"first": 6, "wide": 8}


def test_a_linear_layer_across_positions_pins_channels_along_another_axis():
    network = Forward(
        lambda net, x: net.last(net.across(net.first(x).flatten(2)).mean(2)),
        first=nn.Conv2d(3, 6, 3), across=nn.Linear(36, 5), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert "first" not in widths(table)
    assert pinned(table)["channels along another axis: linear in across"] == ("first",)


def test_channels_along_the_axis_of_images_are_pinned():
    network = Forward(
        lambda net, x: net.last(net.first(x).mean((2, 3))) + net.across(net.second(x).transpose(0, 1)).mean((0, 2, 3)),
        first=nn.Conv2d(3, 6, 3), second=nn.Conv2d(3, 5, 3), across=nn.Conv2d(2, 4, 1), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_channels(ready(network), images())  # a count has multiply-adds of five images
    assert widths(table) == {"first": 6}
    assert pinned(table) == {"channels along another axis: conv2d in across": ("second",)}


def test_a_convolution_of_windows_costs_as_much_as_all_windows():
    def windows(net, x):
        images, channels, *_ = x.shape
        cut = x.view(images, channels, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(images * 4, channels, 4, 4)
        return net.last(net.up(net.inside(cut)).mean((2, 3)).view(images, 4, -1).mean(1))

    network = Forward(
        lambda net, x: windows(net, net.first(x)), first=nn.Conv2d(3, 6, 3, padding=1), inside=nn.Conv2d(6, 5, 3),
        up=nn.ConvTranspose2d(5, 7, 2), last=nn.Linear(7, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table)["inside"] == 5 and widths(table)["up"] == 7


@pytest.mark.parametrize(
    ("rank", "layers"), [(1, (nn.Conv1d, nn.ConvTranspose1d)), (3, (nn.Conv3d, nn.ConvTranspose3d))]
)
def test_convolutions_of_other_dimensions(rank, layers):
    plain, transposed = layers
    network = Forward(
        lambda net, x: net.last(net.up(F.relu(net.depth(net.first(x)))).flatten(2).mean(2)),
        first=plain(3, 6, 3), depth=plain(6, 6, 1, groups=6), up=transposed(6, 5, 2), last=nn.Linear(5, 4),
    )  # fmt: skip
    assert widths(trace_exactly(network, torch.randn(2, 3, *[5] * rank))) == {"first": 6, "up": 5}


def test_rms_norm_pins_its_channels():
    network = Forward(
        lambda net, x: net.last(net.norm(F.relu(net.middle(net.first(x))).mean((2, 3)))),
        first=nn.Conv2d(3, 5, 3), middle=nn.Conv2d(5, 6, 3), norm=nn.RMSNorm(6), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 5}
    assert pinned(table) == {"normalised together: rms_norm in norm": ("middle",)}
