"""How channels pass what only moves, joins or cuts: these operators are executed on the labels."""

from math import gcd, prod

import numpy as np

from evoprune.tracing.call import Axes, Call, PadNote, UnreadableError, Value, module_of, operator_name
from evoprune.tracing.labels import Array, Axis


def concatenate(call: Call) -> Axes:
    """Labels one after the other along the axis, tied along all others."""
    parts: list[Value] = call.arguments["tensors"]
    rank = len(call.shape)
    if any(len(part.shape) != rank for part in parts):
        raise UnreadableError
    joined = call.arguments.get("dim", 0) % rank
    axes: list[Axis] = []
    for axis in range(rank):
        column = [part.axes[axis] for part in parts]
        axes.append(_join(call, parts, axis) if axis == joined else tie_all(call, column))
    return tuple(axes)


def _join(call: Call, parts: list[Value], axis: int) -> Axis:
    if all(part.axes[axis] is None for part in parts):
        return None
    pieces = []
    for part in parts:
        labels = part.axes[axis]
        if labels is None:
            labels = call.labels.fresh(part.shape[axis])
            call.pin(labels, "channels that are never cut")
        pieces.append(labels)
    return np.concatenate(pieces)


def stack(call: Call) -> Axes:
    """A new axis; the others are tied."""
    parts = call.arguments["tensors"]
    axes = [tie_all(call, [part.axes[axis] for part in parts]) for axis in range(len(call.shape) - 1)]
    axes.insert(call.arguments["dim"] % len(call.shape), None)
    return tuple(axes)


def tie_all(call: Call, axes: list[Axis]) -> Axis:
    """Tie axes of equal size; None if nothing is ever cut of one of them."""
    for other in axes[1:]:
        call.tie(axes[0], other)
    return None if any(axis is None for axis in axes) else axes[0]


def split(call: Call) -> list[Axes]:
    """Pieces along an axis, each with its labels. Their sizes are in the call unless it is `chunk`."""
    x = call.value("self")
    axis = call.arguments["dim"] % len(x.shape)
    labels = x.axes[axis]
    if labels is None:
        return [x.axes] * len(call.shapes)
    ends = np.cumsum([shape[axis] for shape in call.shapes])
    _cut_at(call, labels, ends[:-1].tolist())
    if operator_name(call.node) != "chunk":
        call.has_sizes(labels)
    pieces = np.split(labels, ends[:-1])
    return [(*x.axes[:axis], piece, *x.axes[axis + 1 :]) for piece in pieces]


def slice_axis(call: Call) -> Axes:
    """A part of an axis."""
    x = call.value("self")
    axis = call.arguments["dim"] % len(x.shape)
    labels = x.axes[axis]
    if labels is None:
        return x.axes
    first, last, step = slice(*(call.arguments.get(key) for key in ("start", "end", "step"))).indices(len(labels))
    last = first + call.shape[axis] if "length" in call.arguments else last  # `narrow` has a length in place of an end
    if (first, last, step) == (0, len(labels), 1):
        return x.axes
    if step != 1 or last <= first:
        raise UnreadableError
    _cut_at(call, labels, [first, last])
    call.has_sizes(labels)
    return (*x.axes[:axis], labels[first:last], *x.axes[axis + 1 :])


def _cut_at(call: Call, labels: Array, places: list[int]) -> None:
    """The cells between the places, and of equal size, keep equally many: so a cut stays at its share of the axis."""
    cell = gcd(len(labels), *places)
    call.must_divide(labels, len(labels) // cell)


def take_one(call: Call) -> list[Axes]:
    """`select` and `unbind`: an axis goes, and what it has is pinned."""
    x = call.value("self")
    axis = call.arguments["dim"] % len(x.shape)
    call.pin(x.axes[axis], "channels taken one by one")
    return [(*x.axes[:axis], *x.axes[axis + 1 :])] * len(call.shapes)


def permute(call: Call) -> Axes:
    """Axes in another order."""
    x = call.value("self")
    return tuple(x.axes[axis] for axis in call.arguments["dims"])


def transpose(call: Call) -> Axes:
    """Two axes change places."""
    axes = list(call.value("self").axes)
    one, other = (call.arguments[name] for name in ("dim0", "dim1"))
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


def move_axis(call: Call) -> Axes:
    """`movedim` of one axis."""
    axes = list(call.value("self").axes)
    old, new = call.arguments["source"], call.arguments["destination"]
    if not isinstance(old, int):
        raise UnreadableError
    moved = axes.pop(old)
    axes.insert(new % (len(axes) + 1), moved)
    return tuple(axes)


def transpose_last(call: Call) -> Axes:
    """The last two axes change places."""
    *axes, row, column = call.value("self").axes
    return (*axes, column, row)


def expand(call: Call) -> Axes:
    """Axes of one index are repeated: nothing is cut of them."""
    x = call.value("self")
    axes = [None] * (len(call.shape) - len(x.shape)) + list(x.axes)
    for axis, labels in enumerate(axes):
        if labels is not None and call.arguments["size"][axis] != -1:
            call.has_sizes(labels)
    return tuple(axes)


def expand_as(call: Call) -> Axes:
    """Axes of one index follow the other tensor."""
    x, other = call.value("self"), call.value("other")
    new = len(other.shape) - len(x.shape)
    sizes = [1] * new + list(x.shape)
    return tuple(
        labels if sizes[axis] == 1 else _as_in(call, x.axes[axis - new], labels)
        for axis, labels in enumerate(other.axes)
    )


def _as_in(call: Call, labels: Axis, others: Axis) -> Axis:
    """An axis that takes its size from that of another tensor."""
    if others is not None:
        call.tie(labels, others)
    return labels


def pad(call: Call) -> Axes:
    """Padding of channels gives constant ones; a module that does nothing after it can be taught to leave some out."""
    x = call.value("self", "input")
    axes = list(x.axes)
    given = call.arguments["pad"]
    for index in range(len(given) // 2):
        axis, (before, after) = len(axes) - 1 - index, given[2 * index : 2 * index + 2]
        labels = axes[axis]
        if labels is None or (before, after) == (0, 0):
            continue
        if min(before, after) < 0 or call.arguments.get("mode", "constant") != "constant":
            raise UnreadableError
        first, last = call.labels.fresh(before), call.labels.fresh(after)
        if _ends_its_module(call):
            call.notes.pads.append(PadNote(call.module, axis, first, labels, last))
        else:
            call.pin(np.concatenate([first, last]), "a fixed number of constant channels")
        axes[axis] = np.concatenate([first, labels, last])
    return tuple(axes)


def _ends_its_module(call: Call) -> bool:
    """Whether the call gives what its module returns: nothing in the module reads it, and the module runs once."""
    module, node = call.module, call.node
    if not module or any(f"{module_of(user)}.".startswith(f"{module}.") for user in node.users):
        return False
    return sum(module_of(other) == module and other.target == node.target for other in node.graph.nodes) == 1


def reshape(call: Call) -> Axes:
    """Views, `flatten`, `unflatten`, `squeeze`, `unsqueeze`: labels in a tensor of another shape."""
    x = call.value("self")
    if 0 in x.shape:
        raise UnreadableError
    if operator_name(call.node) == "squeeze":
        _pin_squeezed(call, x)
    sizes = call.shape if "sizes" in call.arguments else call.arguments.get("size", call.arguments.get("shape"))
    axes: list[Axis] = []
    for old, new in _blocks(x.shape, call.shape):
        block = _reshape_block(
            call, [(x.shape[axis], x.axes[axis]) for axis in old], [call.shape[axis] for axis in new]
        )
        for axis, labels in zip(new, block, strict=True):
            if labels is not None and sizes is not None and sizes[axis] != -1:
                call.has_sizes(labels)
        axes += block
    if "other" in call.arguments:
        axes = [_as_in(call, *pair) for pair in zip(axes, call.value("other").axes, strict=True)]
    return tuple(axes)


def _pin_squeezed(call: Call, x: Value) -> None:
    """Axes of one index go: channels cut to one would go too."""
    given = call.arguments.get("dim", range(len(x.shape)))
    for axis in [given] if isinstance(given, int) else given:
        call.pin(x.axes[axis], "squeezed where they are one")


def _blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[range, range]]:
    """The smallest runs of axes of both shapes that have equally many elements."""
    blocks, first, start = [], 0, 0
    while first < len(old) or start < len(new):
        last, stop = min(first + 1, len(old)), min(start + 1, len(new))
        while (left := prod(old[first:last])) != (right := prod(new[start:stop])):
            if left < right:
                last += 1
            else:
                stop += 1
        blocks.append((range(first, last), range(start, stop)))
        first, start = last, stop
    return blocks


def _reshape_block(call: Call, old: list[tuple[int, Axis]], new: list[int]) -> list[Axis]:
    """Labels of the new axes of a block; where the old axis is split, all its parts keep the same positions."""
    labelled = [index for index, (_, labels) in enumerate(old) if labels is not None]
    if not labelled:
        return [None] * len(new)
    index, sizes = labelled[0], [size for size, _ in old]
    labels, inner = old[index][1], prod(sizes[index + 1 :])
    if len(labelled) > 1 or labels is None:
        return _lost(call, old, new)
    whole = np.tile(np.repeat(labels, inner), prod(sizes[:index])).reshape(new)
    wide = [axis for axis, size in enumerate(new) if size > 1]
    exact = [axis for axis in wide if (_rows(whole, axis) == _rows(whole, axis)[0]).all()]
    aligned = [axis for axis in wide if prod(new[axis + 1 :]) == inner]
    if not (exact or aligned):
        return _lost(call, old, new)
    carrier = exact[0] if exact else aligned[-1]
    rows = _rows(whole, carrier)
    call.labels.tie(rows, np.broadcast_to(rows[0], rows.shape))
    return [rows[0] if axis == carrier else None for axis in range(len(new))]


def _rows(labels: Array, axis: int) -> Array:
    """A matrix whose columns run along an axis."""
    return np.moveaxis(labels, axis, -1).reshape(-1, labels.shape[axis])


def _lost(call: Call, old: list[tuple[int, Axis]], new: list[int]) -> list[Axis]:
    """Nothing is cut of axes whose channels cannot be followed."""
    for _, labels in old:
        call.pin(labels, "reshaped in a way that channels cannot be followed")
    return [None] * len(new)
