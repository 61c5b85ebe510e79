"""Axes as text: what is written reads back, and says what a person would say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoprune import UserError
from evoprune.space.axes import format_axis, parse_axis
from evoprune.space.groups import Segment

SEGMENTS = (Segment("a", 4, 0), Segment("b:2", 6, 4), Segment("c", 1, 10))
BY_NAME = {segment.name: segment for segment in SEGMENTS}


@pytest.mark.parametrize(("bits", "terms"), [
    ([0, 1, 2, 3], ["a"]),
    ([-1, -1, -1], [3]),
    ([10], ["c"]),
    ([0, 1, 2, 3, -1, 4, 5, 6, 7, 8, 9], ["a", 1, "b:2"]),
    ([2], ["a[2]"]),
    ([1, 2], ["a[1:3]"]),
    ([4, 6, 8], ["b:2[0:5:2]"]),
    ([0, 0, 1, 1, 2, 2, 3, 3], ["a x2"]),
    ([0, 4, 1, 5], ["a[0]", "b:2[0]", "a[1]", "b:2[1]"]),
    ([0, 1, 1, 2], ["a[0]", "a[1] x2", "a[2]"]),
])  # fmt: skip
def test_terms(bits, terms):
    assert format_axis(np.array(bits), SEGMENTS) == terms
    assert parse_axis(terms, BY_NAME).tolist() == bits


@given(st.lists(st.tuples(st.integers(-1, 10), st.integers(1, 3)), max_size=30))
def test_whatever_is_written_reads_back(runs):
    bits = np.array([bit for bit, times in runs for _ in range(times)], dtype=np.int64)
    assert parse_axis(format_axis(bits, SEGMENTS), BY_NAME).tolist() == bits.tolist()


@pytest.mark.parametrize("term", ["d", "a[4]", "a[2:2]", "a[0:9]", "", "[3]", "a x"])
def test_a_wrong_term_is_refused(term):
    with pytest.raises(UserError):
        parse_axis([term], BY_NAME)
