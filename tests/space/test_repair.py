"""Repair: no segment is empty, parts keep equally many, and what is repaired stays."""

import numpy as np
import pytest

from evoprune import UserError
from evoprune.space.groups import Segment
from evoprune.space.repair import repair
from evoprune.space.table import ChannelTable, EqualParts


def make_table(widths: list[int], *parts: list[list[int]]) -> ChannelTable:
    starts = np.cumsum([0, *widths]).tolist()
    segments = tuple(Segment(str(index), width, starts[index]) for index, width in enumerate(widths))
    return ChannelTable(segments, {}, (), (), tuple(EqualParts("test", np.array(part)) for part in parts), (), ())


def test_an_empty_segment_keeps_its_first_channel():
    assert repair(make_table([2, 3]), [0, 0, 0, 1, 1]).tolist() == [1, 0, 0, 1, 1]


@pytest.mark.parametrize(("code", "expected"), [
    ([1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 0]),  # the mean is 2: the last kept one goes, the first pruned one returns
    ([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0]),  # half is rounded up
    ([0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1]),  # equally many are left alone
    ([0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]),
])  # fmt: skip
def test_parts_meet_at_their_mean(code, expected):
    assert repair(make_table([6], [[0, 1, 2], [3, 4, 5]]), code).tolist() == expected


def test_parts_keep_what_is_important():
    scores = np.array([0.1, 0.3, 0.2, 5.0, 4.0, 6.0])
    assert repair(make_table([6], [[0, 1, 2], [3, 4, 5]]), [1, 1, 1, 1, 0, 0], scores).tolist() == [0, 1, 1, 1, 0, 1]


def test_channels_that_are_never_cut_count():
    table = make_table([4], [[0, 1, 2], [3, -1, -1]])
    assert repair(table, [1, 0, 0, 0]).tolist() == [1, 1, 0, 0]
    assert repair(table, [1, 1, 1, 1]).tolist() == [1, 1, 1, 1]


def test_constraints_that_disturb_each_other_hold_in_the_end():
    rng = np.random.default_rng(0)
    table = make_table([8, 4], [[0, 1, 2, 3], [4, 5, 6, 7]], [[0, 1], [2, 3], [4, 5], [6, 7]], [[4, 5, 8], [9, 10, 11]],
                       [[0, 0, 1, 1], [6, 7, 8, 9]])  # fmt: skip
    for _ in range(200):
        code = rng.integers(0, 2, 12)
        repaired = repair(table, code)
        for parts in table.parts:
            assert len(set(repaired[parts.bits].sum(axis=1).tolist())) == 1
        assert repaired[:8].any() and repaired[8:].any()
        assert repair(table, repaired).tolist() == repaired.tolist()


@pytest.mark.parametrize("code", [[1, 0], [1, 0, 2], 1, [[1, 0, 1]], [[1, 0, 1], [1, 1, 1]]])
def test_a_code_that_does_not_fit_is_refused(code):
    with pytest.raises(UserError):
        repair(make_table([3]), code)


def test_the_given_code_is_left_as_it_is():
    code = np.zeros(3, dtype=np.uint8)
    repair(make_table([3]), code)
    assert code.tolist() == [0, 0, 0]


def test_a_network_of_which_nothing_can_be_cut_has_an_empty_code():
    assert repair(make_table([]), []).tolist() == []
