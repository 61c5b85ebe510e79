"""The operators that the tracer knows, one row each: the operator's plain name and the rule that its channels follow.

To teach the tracer an operator, write a row here and a test in tests/tracing/test_operators.py.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from evoprune.tracing import layers, moves
from evoprune.tracing.call import Axes, Call, UnreadableError
from evoprune.tracing.labels import Axis

Rule = Callable[[Call], Axes | list[Axes]]


def each_element(call: Call) -> Axes:
    """Operators of one or more tensors that meet element by element, with broadcasting: their labels are tied."""
    values = list(call.values())
    axes: list[Axis] = []
    for axis in range(-len(call.shape), 0):
        met = [value for value in values if len(value.shape) >= -axis and value.shape[axis] > 1]
        axes.append(moves.tie_all(call, [value.axes[axis] for value in met]) if met else None)
    return tuple(axes)


def first_only(call: Call) -> Axes:
    """The labels of the first tensor, of which the others only give the type or device."""
    return next(call.values()).axes


def maps(call: Call, rank: int) -> list[Axes]:
    """Pooling and resizing of maps of `rank` dimensions: channels stay where they are, in the indices of maxima too."""
    x = call.value("self", "input")
    for axis in range(len(x.shape) - rank, len(x.shape)):
        call.pin(x.axes[axis], "channels along another axis")
    return [(*x.axes[:-rank], *[None] * rank)] * len(call.shapes)


def reduction(call: Call) -> Axes:
    """Sums, means, extremes: axes that go are pinned."""
    x = call.value("self")
    given = call.arguments.get("dim")
    given = [given] if isinstance(given, int) else given or range(len(x.shape))
    gone = {axis % len(x.shape) for axis in given}
    for axis in gone:
        call.pin(x.axes[axis], "channels summed or compared")
    if call.arguments.get("keepdim"):
        return tuple(None if axis in gone else labels for axis, labels in enumerate(x.axes))
    return tuple(labels for axis, labels in enumerate(x.axes) if axis not in gone)


def extremes(call: Call) -> list[Axes]:
    """The larger or smaller elements of two tensors, or those along an axis and their places."""
    return [each_element(call) if "other" in call.arguments else reduction(call)] * len(call.shapes)


def along_axis(call: Call) -> Axes:
    """Operators such as softmax that mix the elements of one axis: that axis is pinned."""
    x = call.value("self", "input")
    axis = call.arguments["dim"]
    if not isinstance(axis, int):
        raise UnreadableError
    call.pin(x.axes[axis], "channels mixed")
    return x.axes


def unknown(call: Call) -> list[Axes]:
    """Whatever passes an operator that has no row: pinned."""
    for value in call.values():
        for axis in value.axes:
            call.pin(axis, "an operator that the tracer does not know")
    return [tuple(None for _ in shape) for shape in call.shapes]


def nothing(call: Call) -> list[Axes]:
    """Operators that only look at what is true of the example."""
    return []


def pixel_shuffle(call: Call) -> Axes:
    """Runs of channels become maps of more pixels: each run goes or stays as a whole."""
    ((*first, labels, _, _),) = maps(call, rank=2)
    if labels is None:
        return (*first, None, None, None)
    runs = labels.reshape(call.shape[-3], -1)
    call.labels.tie(runs, runs[:, :1].repeat(runs.shape[1], axis=1))
    return (*first, runs[:, 0], None, None)


def pixel_unshuffle(call: Call) -> Axes:
    """Maps become runs of channels, each of which goes or stays as a whole."""
    ((*first, labels, _, _),) = maps(call, rank=2)
    times = call.shape[-3] // call.value("self").shape[-3]
    return (*first, None if labels is None else np.repeat(labels, times), None, None)


def channel_shuffle(call: Call) -> Axes:
    """Groups of channels are interleaved: all of them keep the same positions."""
    x = call.value("self", "input")
    labels = x.axes[1]
    if labels is None:
        return x.axes
    groups = labels.reshape(call.arguments["groups"], -1)
    call.labels.tie(groups, np.broadcast_to(groups[0], groups.shape))
    return (x.axes[0], groups.T.ravel(), *x.axes[2:])


def glu(call: Call) -> Axes:
    """One half of an axis gates the other: both keep the same channels."""
    x = call.value("self")
    axis = call.arguments["dim"] % len(x.shape)
    if x.axes[axis] is None:
        return x.axes
    first, second = np.split(x.axes[axis], 2)
    call.tie(first, second)
    return (*x.axes[:axis], first, *x.axes[axis + 1 :])


def _rows(names: str, rule: Rule) -> dict[str, Rule]:
    return {name: rule for name in names.split()}


OPERATORS: dict[str, Rule] = {
    **_rows("conv1d conv2d conv3d", layers.convolution),
    **_rows("conv_transpose1d conv_transpose2d conv_transpose3d", layers.transposed_convolution),
    **_rows("linear", layers.linear),
    **_rows("batch_norm instance_norm", layers.norm_of_each_channel),
    **_rows("layer_norm group_norm rms_norm", layers.norm_over_channels),
    **_rows("prelu", layers.prelu),
    **_rows(
        "add sub rsub mul div pow maximum minimum where clamp clamp_min clamp_max lerp addcmul copy masked_fill",
        each_element,
    ),
    **_rows("relu relu6 leaky_relu elu celu selu gelu silu mish sigmoid log_sigmoid tanh hardtanh", each_element),
    **_rows("hardswish hardsigmoid softplus hardshrink softshrink threshold rrelu", each_element),
    **_rows("abs neg exp expm1 log log1p sqrt rsqrt square reciprocal sign erf sin cos floor round", each_element),
    **_rows("gt ge lt le eq ne", each_element),
    **_rows("dropout feature_dropout alpha_dropout feature_alpha_dropout", first_only),
    **_rows("clone contiguous detach alias to type_as", first_only),
    **_rows("zeros_like ones_like full_like", first_only),
    **_rows("max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d", partial(maps, rank=1)),
    **_rows("max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d", partial(maps, rank=2)),
    **_rows("adaptive_max_pool2d upsample_nearest2d", partial(maps, rank=2)),
    **_rows("upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d", partial(maps, rank=2)),
    **_rows("_upsample_bilinear2d_aa _upsample_bicubic2d_aa", partial(maps, rank=2)),
    **_rows("max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d", partial(maps, rank=3)),
    **_rows("upsample_nearest3d upsample_trilinear3d", partial(maps, rank=3)),
    **_rows("mean sum amax amin var std prod norm linalg_vector_norm logsumexp", reduction),
    **_rows("max min", extremes),
    **_rows("softmax log_softmax cumsum", along_axis),
    **_rows("cat", moves.concatenate),
    **_rows("stack", moves.stack),
    **_rows("chunk split split_with_sizes tensor_split", moves.split),
    **_rows("slice narrow", moves.slice_axis),
    **_rows("select unbind", moves.take_one),
    **_rows("permute", moves.permute),
    **_rows("movedim", moves.move_axis),
    **_rows("transpose", moves.transpose),
    **_rows("t mT", moves.transpose_last),
    **_rows("view view_as reshape reshape_as flatten unflatten unsqueeze squeeze", moves.reshape),
    **_rows("expand", moves.expand),
    **_rows("expand_as", moves.expand_as),
    **_rows("pad constant_pad_nd", moves.pad),
    **_rows("pixel_shuffle", pixel_shuffle),
    **_rows("pixel_unshuffle", pixel_unshuffle),
    **_rows("channel_shuffle", channel_shuffle),
    **_rows("glu", glu),
    **_rows("_assert_tensor_metadata", nothing),
}
