"""How channels pass what has weights: convolutions, linear layers, norms, PReLU."""

from math import prod

import numpy as np

from evoprune.tracing.call import Axes, Call, LayerNote, UnreadableError, Value, operator_name
from evoprune.tracing.labels import Axis


def convolution(call: Call) -> Axes:
    """A convolution of any dimension: new labels, or those that it reads where it is depthwise."""
    x, weight = call.value("input"), call.value("weight")
    groups = call.arguments["groups"]
    is_depthwise = groups == x.shape[1] > 1
    inputs, outputs = x.axes[1], weight.axes[0]
    if groups > 1 and not is_depthwise and not _can_be_grouped(x, weight):
        inputs, outputs = _stays(call)
    elif is_depthwise:
        outputs = _depthwise(call, x, weight)
    elif groups > 1:
        _grouped(call, x, weight)
    else:
        call.tie(inputs, weight.axes[1])
    return _convolved(call, (inputs, outputs), call.shape, is_depthwise)


def transposed_convolution(call: Call) -> Axes:
    """A transposed convolution; its weight has inputs first. One that is grouped and not depthwise stays."""
    x, weight = call.value("input"), call.value("weight")
    groups = call.arguments["groups"]
    is_depthwise = groups == x.shape[1] > 1 and weight.shape[1] == 1
    inputs, outputs = x.axes[1], weight.axes[0 if is_depthwise else 1]
    if groups > 1 and not is_depthwise:
        inputs, outputs = _stays(call)
    else:
        call.tie(x.axes[1], weight.axes[0])
    return _convolved(call, (inputs, outputs), x.shape, is_depthwise)


def _convolved(call: Call, axes: tuple[Axis, Axis], shape: tuple[int, ...], is_depthwise: bool) -> Axes:
    """What all convolutions have in common: the bias follows, other axes than that of channels have no labels.

    Args:
        call: of the convolution.
        axes: labels of its inputs and outputs.
        shape: images, channels and positions at which the kernel is applied.
        is_depthwise: whether its outputs read one input each.
    """
    x, weight = call.value("input"), call.value("weight")
    if len(x.shape) != len(weight.shape):
        raise UnreadableError
    for value in (x, weight):
        _pin_axes(call, value, range(2, len(value.shape)))
    _pin_axes(call, x, range(1))
    _bias(call, axes[1])
    maps = call.per_image(shape[0])  # more than one where an image is cut into windows
    note = LayerNote(
        call.node.name,
        _layer_name(call, weight),
        "depthwise" if is_depthwise else "conv",
        *axes,
        (x.shape[1], call.shape[1]),
        1 if is_depthwise else call.arguments["groups"],
        prod(weight.shape[2:]),
        prod(shape[2:]) * maps,
        (prod(x.shape[2:]) * maps, prod(call.shape[2:]) * maps),
        isinstance(call.arguments.get("bias"), Value),
    )
    _note(call, note)
    return (None, axes[1], *[None] * (len(x.shape) - 2))


def _stays(call: Call) -> tuple[None, None]:
    """Nothing is cut of what a layer reads and writes."""
    for value in call.values():
        _pin_axes(call, value, range(len(value.shape)), "groups that cannot be narrowed")
    return None, None


def linear(call: Call) -> Axes:
    """A linear layer: new labels along the last axis."""
    x, weight = call.value("input"), call.value("weight")
    if len(weight.shape) != 2:
        raise UnreadableError
    _pin_axes(call, x, range(len(x.shape) - 1))
    call.tie(x.axes[-1], weight.axes[1])
    outputs = weight.axes[0]
    _bias(call, outputs)
    positions = call.per_image(prod(call.shape[:-1]))
    sizes, areas = (x.shape[-1], call.shape[-1]), (positions, positions)
    has_bias = isinstance(call.arguments.get("bias"), Value)
    name = _layer_name(call, weight)
    _note(call, LayerNote(call.node.name, name, "linear", x.axes[-1], outputs, sizes, 1, 1, positions, areas, has_bias))
    return (*[None] * (len(x.shape) - 1), outputs)


def norm_of_each_channel(call: Call) -> Axes:
    """Batch norm and instance norm: everything that they have follows their channels."""
    x = call.value("input")
    _pin_axes(call, x, range(2, len(x.shape)))  # statistics may be taken along them
    statistics = call.arguments.get("running_mean")
    if isinstance(statistics, Value) and statistics.parameter and len(call.node.all_input_nodes[0].users) == 1:
        call.notes.norms[call.node.all_input_nodes[0].name] = statistics.parameter.rpartition(".")[0]
    for value in call.values():
        if value is not x:
            call.tie(x.axes[1], value.axes[0])
    return x.axes


def norm_over_channels(call: Call) -> Axes:
    """Layer norm, RMS norm, group norm: a channel changes all others, so none goes."""
    for value in call.values():
        _pin_axes(call, value, range(len(value.shape)), "normalised together")
    return tuple(None for _ in call.shape)


def prelu(call: Call) -> Axes:
    """PReLU with one slope, or with one for each channel."""
    x, slopes = call.value("self", "input"), call.value("weight")
    if prod(slopes.shape) > 1:
        call.tie(x.axes[1], slopes.axes[-1])
    return x.axes


def _depthwise(call: Call, x: Value, weight: Value) -> Axis:
    """Labels of a depthwise convolution's outputs: those of what it reads."""
    times = weight.shape[0] // x.shape[1]
    read = x.axes[1]
    call.tie(None if read is None else np.repeat(read, times), weight.axes[0])
    return weight.axes[0] if read is not None else None


def _can_be_grouped(x: Value, weight: Value) -> bool:
    """Whether the weight of a grouped convolution is a parameter, and what it reads and writes can be cut."""
    return weight.parameter is not None and x.axes[1] is not None and weight.axes[0] is not None


def _grouped(call: Call, x: Value, weight: Value) -> None:
    """Groups keep equally many inputs and equally many outputs, each its own."""
    groups, read, written = call.arguments["groups"], x.axes[1], weight.axes[0]
    assert weight.parameter is not None and read is not None and written is not None
    call.pin(weight.axes[1], "inputs of one group")
    if weight.parameter in call.notes.grouped:
        call.tie(call.notes.grouped[weight.parameter][1], read)
    call.notes.grouped[weight.parameter] = (groups, read)
    call.must_divide(read, groups)
    call.must_divide(written, groups)


def _bias(call: Call, outputs: Axis) -> None:
    bias = call.arguments.get("bias")
    if isinstance(bias, Value):
        call.tie(outputs, bias.axes[0])


def _pin_axes(call: Call, value: Value, axes: range, why: str = "channels along another axis") -> None:
    for axis in axes:
        call.pin(value.axes[axis], why)


def _layer_name(call: Call, weight: Value) -> str:
    """The name of the module whose weight it is, or of the parameter; of a computed weight where the call stands."""
    if weight.parameter is not None:
        module, _, leaf = weight.parameter.rpartition(".")
        return module if module and leaf == "weight" else weight.parameter
    return call.module or _numbered(call)


def _numbered(call: Call) -> str:
    """A name for a call in the network's own forward: no module or parameter can have it."""
    number = sum(note.name.startswith("forward.") for note in call.notes.layers)
    return f"forward.{operator_name(call.node)}_{number + 1}"


def _note(call: Call, note: LayerNote) -> None:
    call.notes.layers.append(note)
    if note.kind != "depthwise" and note.outputs is not None:
        call.notes.written.append((note.name, note.outputs))
