"""Notes -> table: the order of the code, names of segments, constraints and reasons."""

import numpy as np

from evoprune.tracing.call import LayerNote, Notes, PartsNote, Value
from evoprune.tracing.tabulate import tabulate


def make_notes() -> tuple[Notes, list[tuple[Value, bool]]]:
    """A layer `a` of six channels of which `b` reads the first four; the last two of `a` are pinned."""
    notes = Notes()
    written, read, made = notes.labels.fresh(6), notes.labels.fresh(4), notes.labels.fresh(2)
    notes.labels.tie(written[:4], read)
    notes.written += [("a", written), ("b", made)]
    notes.layers += [
        LayerNote("n", "a", "conv", None, written, (3, 6), 1, 9, 1, (1, 1), False),
        LayerNote("m", "b", "conv", read, made, (4, 2), 1, 1, 1, (1, 1), False),
    ]
    notes.labels.pin(written[4:], "first reason")
    notes.labels.pin(written[5:], "second reason")
    values = [Value((6, 3), (written, None), "a.weight"), Value((2, 4), (made, read), "b.weight")]
    return notes, [(value, True) for value in values]


def test_bits_are_in_the_order_in_which_layers_write():
    table = tabulate(*make_notes())
    assert [(segment.name, segment.start, segment.width) for segment in table.segments] == [("a", 0, 4), ("b", 4, 2)]
    assert table.tensors[0].bits[0].tolist() == [0, 1, 2, 3, -1, -1]
    assert [bits.tolist() for bits in table.tensors[1].bits] == [[4, 5], [0, 1, 2, 3]]
    assert table.layers[0].inputs.tolist() == [-1] * 3


def test_what_other_layers_carry_is_another_segment_with_a_number():
    notes, values = make_notes()
    other = notes.labels.fresh(2)
    notes.labels.tie(other, notes.layers[0].outputs[[1, 3]])
    table = tabulate(notes, [*values, (Value((2,), (other,), "scale"), True)])
    assert [(segment.name, segment.width) for segment in table.segments] == [("a", 2), ("a:2", 2), ("b", 2)]
    assert table.tensors[0].bits[0].tolist() == [0, 2, 1, 3, -1, -1]
    assert table.writers == {"a": ("a",), "a:2": ("a",), "b": ("b",)}


def test_a_pinned_channel_has_its_first_reason_only():
    table = tabulate(*make_notes())
    assert [(pin.reason, pin.layers) for pin in table.pins] == [("first reason", ("a",))]


def test_constraints_are_there_once_and_not_where_they_always_hold():
    notes, values = make_notes()
    labels = notes.layers[0].outputs
    notes.parts += [PartsNote("x", labels[:4].reshape(2, 2)), PartsNote("y", labels[:4].reshape(2, 2))]
    notes.parts += [PartsNote("z", np.stack([labels[:2], labels[:2]]))]
    assert [(parts.name, parts.bits.tolist()) for parts in tabulate(notes, values).parts] == [("x", [[0, 1], [2, 3]])]
