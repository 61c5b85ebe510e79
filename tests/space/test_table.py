"""The channel table by itself: codes, counts, the share that segments reach."""

import numpy as np
import pytest

from evoprune import UserError
from evoprune.space.groups import Segment
from evoprune.space.table import ChannelTable, TensorRow

SEGMENTS = (Segment("a", 2, 0), Segment("b", 3, 2))
WEIGHT = TensorRow("b.weight", (np.array([2, 3, 4]), np.array([0, 1])), 1, True)
HALF = TensorRow("c.weight", (np.array([-1, -1]), np.array([2, 3, 4])), 1, True)
STAYS = TensorRow("c.bias", (np.array([-1, -1]),), 1, True)
BUFFER = TensorRow("norm.running_mean", (np.array([0, 1]),), 1, False)
TABLE = ChannelTable(SEGMENTS, {}, (WEIGHT, HALF, STAYS, BUFFER), (), (), (), ())


def test_length_and_full_code():
    assert TABLE.length == 5 and TABLE.full_code().tolist() == [1] * 5


def test_count_is_by_segment():
    assert TABLE.count(np.array([[1, 0, 1, 1, 1], [0, 0, 0, 1, 0]], dtype=np.uint8)).tolist() == [[1, 3], [0, 1]]


def test_reach_is_the_share_of_parameters_that_a_segment_carries():
    assert TABLE.reach == pytest.approx((6 + 6) / (6 + 6 + 2))


def test_reach_of_a_grouped_weight_counts_each_group_once():
    weight = TensorRow("d.weight", (np.array([0, 1, 2, 3]), np.array([-1] * 4)), 2, True)
    assert ChannelTable((Segment("d", 4, 0),), {}, (weight, STAYS), (), (), (), ()).reach == pytest.approx(8 / 10)


@pytest.mark.parametrize("code", [[1, 0, 1], [[1, 0, 1]], 1, [1, 0, 1, 1, 2], [1, 0, 1, 1, np.nan]])
def test_what_is_no_code_is_refused(code):
    with pytest.raises(UserError):
        TABLE.check(code)
