"""Every operator that the tracer knows, in a small network: exact, and as free as it can be."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import Forward, pinned, ready, trace_exactly, widths

from evoprune.tracing.call import operator_name
from evoprune.tracing.graph import export
from evoprune.tracing.operators import OPERATORS

ELEMENTS = {
    "add": lambda x: x + x.relu(), "sub": lambda x: x - 1, "rsub": lambda x: torch.rsub(x, x.relu()),
    "mul": lambda x: x * x.relu(), "div": lambda x: x / (x.abs() + 1), "pow": lambda x: x**2,
    "maximum": lambda x: torch.maximum(x, -x), "minimum": lambda x: torch.minimum(x, -x),
    "where": lambda x: torch.where(x > 0, x, x.exp()), "clamp": lambda x: x.clamp(-1, 1),
    "clamp_min": lambda x: torch.clamp_min(x, 0), "clamp_max": lambda x: torch.clamp_max(x, 0),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3), "addcmul": lambda x: torch.addcmul(x, x, x),
    "copy": lambda x: torch.zeros_like(x).copy_(x), "dropout": lambda x: F.dropout(x, training=False),
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "elu": F.elu, "celu": F.celu, "selu": F.selu,
    "gelu": F.gelu, "silu": F.silu, "mish": F.mish, "sigmoid": torch.sigmoid, "log_sigmoid": F.logsigmoid,
    "tanh": torch.tanh, "hardtanh": F.hardtanh, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus, "hardshrink": F.hardshrink, "softshrink": F.softshrink, "threshold": lambda x:
    F.threshold(x, 0.1, 0.0), "rrelu": F.rrelu, "abs": torch.abs, "neg": torch.neg, "exp": torch.exp,
    "expm1": torch.expm1, "log1p": lambda x: torch.log1p(x.abs()), "log": lambda x: torch.log(x.abs() + 1),
    "sqrt": lambda x: torch.sqrt(x.abs()), "rsqrt": lambda x: torch.rsqrt(x.abs() + 1), "square": torch.square,
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 1), "sign": torch.sign, "erf": torch.erf, "sin": torch.sin,
    "cos": torch.cos, "floor": torch.floor, "round": torch.round, "gt": lambda x: x * (x > 0),
    "ge": lambda x: x * (x >= 0), "lt": lambda x: x * (x < 0), "le": lambda x: x * (x <= 0),
    "eq": lambda x: x + (x == 0), "ne": lambda x: x * (x != 0),
    "_assert_tensor_metadata": lambda x: x.to(torch.float64).to(torch.float32),

    "clone": torch.clone, "contiguous": lambda x: x.contiguous(memory_format=torch.channels_last),
    "detach": torch.detach, "alias": torch.ops.aten.alias, "to": lambda x: x.to(torch.float64).to(torch.float32),
    "type_as": lambda x: x.type_as(torch.zeros(1)), "zeros_like": lambda x: x + torch.zeros_like(x),
    "ones_like": lambda x: x + torch.ones_like(x), "full_like": lambda x: x + torch.full_like(x, 2.0),
    "feature_dropout": lambda x: F.dropout2d(x, training=False),
    "alpha_dropout": lambda x: F.alpha_dropout(x, training=False),
    "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x, training=False),
    "upsample_nearest2d": lambda x: F.interpolate(x, scale_factor=2),
    "upsample_bilinear2d": lambda x: F.interpolate(x, size=5, mode="bilinear"),
    "upsample_bicubic2d": lambda x: F.interpolate(x, size=5, mode="bicubic"),
    "_upsample_nearest_exact2d": lambda x: F.interpolate(x, size=5, mode="nearest-exact"),
    "_upsample_bilinear2d_aa": lambda x: F.interpolate(x, size=5, mode="bilinear", antialias=True),
    "_upsample_bicubic2d_aa": lambda x: F.interpolate(x, size=5, mode="bicubic", antialias=True),
    "max_pool2d": lambda x: F.max_pool2d(x, 2), "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 3),
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 2)[..., None],
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(2), 2)[..., None],
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 2)[..., None],
    "max_pool3d": lambda x: F.max_pool3d(x[:, :, None], (1, 2, 2)).squeeze(2),
    "avg_pool3d": lambda x: F.avg_pool3d(x[:, :, None], (1, 2, 2)).squeeze(2),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x[:, :, None], (1, 2, 2)).squeeze(2),
    "upsample_nearest3d": lambda x: F.interpolate(x[:, :, None], scale_factor=2).amax(2),
    "upsample_trilinear3d": lambda x: F.interpolate(x[:, :, None], size=(2, 3, 3), mode="trilinear").amax(2),
    "mean": lambda x: x.mean((2, 3), keepdim=True), "sum": lambda x: x.sum(-1, keepdim=True),
    "amax": lambda x: x.amax((2, 3), keepdim=True), "amin": lambda x: x.amin(2, keepdim=True),
    "var": lambda x: x.var((2, 3), keepdim=True), "std": lambda x: x.std((2, 3), keepdim=True),
    "prod": lambda x: x.prod(2, keepdim=True), "norm": lambda x: torch.ops.aten.norm(x, 2, [2, 3], True),
    "linalg_vector_norm": lambda x: torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True),
    "logsumexp": lambda x: x.logsumexp((2, 3), keepdim=True), "softmax": lambda x: x.softmax(2),
    "log_softmax": lambda x: x.log_softmax(3), "cumsum": lambda x: x.cumsum(2),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 2, 2),
    "view_as": lambda x: x.flatten(1).view_as(x), "reshape_as": lambda x: x.flatten(2).reshape_as(x),
    "expand_as": lambda x: x.mean((2, 3), keepdim=True).expand_as(x),
    "max": lambda x: torch.max(x, x.max(2, keepdim=True)[0] / 2), "min": lambda x: torch.min(x, -x),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.5),
    "max_pool2d_with_indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 3),
    "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(x.flatten(2), 2)[..., None],
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(x[:, :, None], (1, 2, 2)).squeeze(2),
    "pad": lambda x: F.pad(x, (1, 1)), "constant_pad_nd": lambda x: torch.constant_pad_nd(x, (1, 1)),
}  # fmt: skip
"""Operator -> a function that uses it and leaves channels where they are."""


@pytest.mark.parametrize("name", ELEMENTS)
def test_channels_pass_free_and_exactly(name):
    network = Forward(
        lambda net, x: net.last(ELEMENTS[name](net.first(x)).mean((2, 3))),
        first=nn.Conv2d(3, 6, 5), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 6} and pinned(table) == {}
    nodes = export(ready(network), torch.ones(2, 3, 8, 8)).graph.nodes
    assert name in {operator_name(node) for node in nodes} or name == "_assert_tensor_metadata"  # newer torch has it


PINNING = {
    "mean": lambda x: x.mean(1, keepdim=True), "amax": lambda x: x.amax(1, keepdim=True), "sum": lambda x: x.sum(1),
    "softmax": lambda x: x.softmax(1), "cumsum": lambda x: x.cumsum(1), "sort": lambda x: x.sort(1)[0],
    "max": lambda x: x.max(1)[0], "max of everything": lambda x: x - x.max(), "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x.transpose(1, 2), 2),
    "mul": lambda x: x * torch.arange(1.0, 7)[:, None, None],
    "add": lambda x: x + torch.ones(6, 1, 1), "mean of everything": lambda x: x - x.mean(),
    "expand": lambda x: x + x.mean((1, 2, 3), keepdim=True).expand(-1, 6, -1, -1),
}  # fmt: skip
"""Functions of which no channel can be taken out."""


@pytest.mark.parametrize("name", PINNING)
def test_what_mixes_channels_is_pinned_with_the_name_of_the_operator(name):
    network = Forward(
        lambda net, x: net.last(F.relu(net.middle(net.first(x))).mean((2, 3))) + PINNING[name](net.mixed(x)).mean(),
        mixed=nn.Conv2d(3, 6, 5), first=nn.Conv2d(3, 5, 3), middle=nn.Conv2d(5, 6, 3), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 5, "middle": 6}
    assert list(pinned(table).values()) == [("mixed",)]


def test_an_operator_of_another_library_is_not_taken_for_one_of_torch():
    torch.library.define("evoprune_test::relu", "(Tensor x) -> Tensor")
    torch.library.impl("evoprune_test::relu", "CompositeExplicitAutograd")(lambda x: x.flip(1))
    torch.library.register_fake("evoprune_test::relu")(torch.empty_like)
    network = Forward(
        lambda net, x: net.last(torch.ops.evoprune_test.relu(net.first(x)).mean((2, 3))),
        first=nn.Conv2d(3, 6, 5), last=nn.Linear(6, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    reason = "an operator that the tracer does not know: evoprune_test.relu in the network itself"
    assert pinned(table) == {reason: ("first",)}


def test_pixel_shuffle_cuts_runs_of_channels():
    network = Forward(
        lambda net, x: net.last(F.pixel_shuffle(net.first(x), 2).mean((2, 3))),
        first=nn.Conv2d(3, 12, 3), last=nn.Linear(3, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 3}
    (row,) = [row for row in table.tensors if row.name == "first.weight"]
    assert row.bits[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


RUNS = {
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), 24, [0, 1, 2, 3, 4, 5]),
    "channel_shuffle": (lambda x: torch.channel_shuffle(x, 2), 6, [0, 1, 2, 0, 1, 2]),
    "glu": (lambda x: F.glu(x, 1), 3, [0, 1, 2, 0, 1, 2]),
}
"""Operator -> a function that uses it, how many channels it makes of six, and which of these go together."""


@pytest.mark.parametrize("name", RUNS)
def test_what_moves_channels_ties_those_that_must_go_together(name):
    function, made, tied = RUNS[name]
    network = Forward(
        lambda net, x: net.last(function(net.first(x)).mean((2, 3))),
        first=nn.Conv2d(3, 6, 5), last=nn.Linear(made, 4),
    )  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": len(set(tied))} and pinned(table) == {}
    (row,) = [row for row in table.tensors if row.name == "first.weight"]
    assert row.bits[0].tolist() == tied


def test_every_row_has_a_test():
    here = {*ELEMENTS, *RUNS, "pixel_shuffle"}
    in_layers = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear",
                 "batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm", "prelu"}  # fmt: skip
    in_moves = {"cat", "stack", "chunk", "split", "split_with_sizes", "tensor_split", "slice", "narrow", "select",
                "unbind", "permute", "movedim", "transpose", "t", "mT", "view", "reshape", "flatten", "unflatten",
                "unsqueeze", "squeeze"}  # fmt: skip
    assert set(OPERATORS) - here - in_layers - in_moves == set()
