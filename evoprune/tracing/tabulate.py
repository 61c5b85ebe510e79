"""Notes of a walk through the graph -> the channel table."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from evoprune.space.groups import Segment
from evoprune.space.table import ChannelTable, EqualParts, LayerRow, PadRow, Pin, TensorRow
from evoprune.tracing.call import LayerNote, Notes, Value
from evoprune.tracing.labels import Array, Axis

Uses = dict[int, list[tuple[int, int]]]


class _Classes:
    """Classes of tied labels: those that a layer writes and nothing pins, in the order in which they are written."""

    def __init__(self, notes: Notes) -> None:
        self.roots = notes.labels.find(np.arange(notes.labels.count))
        pinned = np.zeros(len(self.roots), dtype=bool)
        for labels, _ in notes.labels.pins:
            pinned[self.roots[labels]] = True
        self.writers: dict[int, dict[str, None]] = defaultdict(dict)
        for layer, labels in notes.written:
            for root in self.roots[labels].tolist():
                self.writers[root][layer] = None
        self.free = [root for root in self.writers if not pinned[root]]
        self.bits = np.full(len(self.roots), -1, dtype=np.int64)

    def number(self, order: Sequence[int]) -> None:
        """Give the classes bits in this order."""
        self.bits[list(order)] = np.arange(len(order))

    def of(self, axis: Axis, size: int) -> Array:
        """The bit of each index of an axis; -1 where nothing is cut."""
        return np.full(size, -1, dtype=np.int64) if axis is None else self.bits[self.roots[axis]]


def tabulate(notes: Notes, values: Sequence[tuple[Value, bool]]) -> ChannelTable:
    """Turn the notes of a walk into a table.

    Args:
        notes: what the rules wrote down.
        values: every parameter and buffer, and whether it is a parameter.
    """
    classes = _Classes(notes)
    groups = _segments(notes, classes, [value for value, _ in values])
    classes.number([root for group in groups for root in group])
    names = _names([next(iter(classes.writers[group[0]])) for group in groups])
    starts = np.cumsum([0, *map(len, groups)]).tolist()
    return ChannelTable(
        tuple(Segment(name, len(group), start) for name, group, start in zip(names, groups, starts[:-1], strict=True)),
        {name: tuple(classes.writers[group[0]]) for name, group in zip(names, groups, strict=True)},
        tuple(_tensor_row(notes, classes, value, is_parameter) for value, is_parameter in values),
        tuple(_layer_row(notes, classes, note) for note in notes.layers),
        tuple(_parts(notes, classes)),
        tuple(
            PadRow(note.module, note.axis, classes.of(np.concatenate([note.before, note.middle, note.after]), 0),
                   len(note.before), len(note.after))
            for note in notes.pads
        ),
        tuple(_pins(notes, classes)),
    )  # fmt: skip


def _segments(notes: Notes, classes: _Classes, values: Sequence[Value]) -> list[list[int]]:
    """Classes that the same axes carry, equally often, in the order in which they are written."""
    axes = [axis for value in values for axis in _axes(notes, value)]
    axes += [axis for note in notes.layers for axis in (note.inputs, note.outputs)]
    classes.number(classes.free)
    uses: Uses = defaultdict(list)
    for index, axis in enumerate(axes):
        if axis is not None:
            found, counts = np.unique(classes.of(axis, 0), return_counts=True)
            for bit, count in zip(found.tolist(), counts.tolist(), strict=True):
                uses[bit].append((index, count))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for bit, root in enumerate(classes.free):
        alike[tuple(uses[bit])].append(root)
    return list(alike.values())


def _names(writers: Sequence[str]) -> list[str]:
    """Names of segments: their first writer's, with a number behind it from a writer's second segment on."""
    seen = Counter[str]()
    names = []
    for writer in writers:
        seen[writer] += 1
        names.append(writer if seen[writer] == 1 else f"{writer}:{seen[writer]}")
    return names


def _axes(notes: Notes, value: Value) -> tuple[Axis, ...]:
    """Labels of a parameter's axes; all inputs for axis 1 of a grouped convolution's weight."""
    if value.parameter in notes.grouped:
        return (value.axes[0], notes.grouped[value.parameter][1], *value.axes[2:])
    return value.axes


def _tensor_row(notes: Notes, classes: _Classes, value: Value, is_parameter: bool) -> TensorRow:
    assert value.parameter is not None
    axes = _axes(notes, value)
    bits = tuple(classes.of(axis, size) for axis, size in zip(axes, value.shape, strict=True))
    groups = notes.grouped[value.parameter][0] if value.parameter in notes.grouped else 1
    return TensorRow(value.parameter, bits, groups, is_parameter)


def _layer_row(notes: Notes, classes: _Classes, note: LayerNote) -> LayerRow:
    norm = notes.norms.get(note.node, "")
    is_shared = list(notes.norms.values()).count(norm) != 1
    return LayerRow(
        note.name,
        note.kind,
        classes.of(note.inputs, note.sizes[0]),
        classes.of(note.outputs, note.sizes[1]),
        note.groups,
        note.kernel,
        note.positions,
        note.areas,
        note.has_bias,
        None if is_shared else norm,
    )


def _parts(notes: Notes, classes: _Classes) -> list[EqualParts]:
    """Constraints on bits; the same one is there once."""
    rows = (EqualParts(note.name, classes.of(note.labels, 0)) for note in notes.parts)
    unique: dict[tuple[tuple[int, ...], bytes], EqualParts] = {}
    for row in rows:
        if (row.bits != row.bits[:1]).any():
            unique.setdefault((row.bits.shape, row.bits.tobytes()), row)
    return list(unique.values())


def _pins(notes: Notes, classes: _Classes) -> list[Pin]:
    """Reasons and the layers that they concern: of each class that is written the first reason only."""
    layers: dict[str, dict[str, None]] = defaultdict(dict)
    explained: set[int] = set()
    for labels, reason in notes.labels.pins:
        for root in dict.fromkeys(classes.roots[labels].tolist()):
            if root in classes.writers and root not in explained:
                layers[reason].update(classes.writers[root])
                explained.add(root)
    return [Pin(reason, tuple(names)) for reason, names in layers.items()]
