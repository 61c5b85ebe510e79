"""Other tables of the same network: what is gone has no place, what is fixed has no bit."""

import numpy as np
import pytest

from evoprune.space.groups import Segment
from evoprune.space.remap import fixed, narrowed
from evoprune.space.table import ChannelTable, EqualParts, PadRow, TensorRow

TABLE = ChannelTable(
    (Segment("a", 4, 0), Segment("b", 2, 4)),
    {"a": ("a", "c"), "b": ("b",)},
    (TensorRow("b.weight", (np.array([4, 5]), np.array([0, 1, 2, 3])), 1, True),),
    (),
    (EqualParts("group", np.array([[0, 1], [2, 3]])),),
    (PadRow("pad", 1, np.array([0, 4, 5, 3]), 1, 1),),
    (),
)


def test_a_narrowed_table_is_that_of_the_slim_network():
    table = narrowed(TABLE, np.array([0, 1, 1, 0, 1, 0], dtype=np.uint8))
    assert table.segments == (Segment("a", 2, 0), Segment("b", 1, 2))
    assert [bits.tolist() for bits in table.tensors[0].bits] == [[2], [0, 1]]
    assert table.parts[0].bits.tolist() == [[0], [1]]
    assert (table.pads[0].before, table.pads[0].bits.tolist(), table.pads[0].after) == (0, [2], 0)


def test_a_fixed_segment_has_no_bits_and_a_reason():
    table = fixed(TABLE, ["a"], "fails")
    assert table.segments == (Segment("b", 2, 0),) and table.length == 2
    assert [bits.tolist() for bits in table.tensors[0].bits] == [[0, 1], [-1] * 4]
    assert table.parts == () and list(table.writers) == ["b"]
    assert [(pin.reason, pin.layers) for pin in table.pins] == [("fails", ("a", "c"))]


@pytest.mark.parametrize("code", [[1] * 6, [1, 0, 1, 0, 0, 1]])
def test_the_number_of_bits_is_the_number_of_kept_channels(code):
    assert narrowed(TABLE, np.array(code, dtype=np.uint8)).length == sum(code)
