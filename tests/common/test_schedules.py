"""Schedules against values by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune.common.schedules import warmup_cosine


def test_a_warm_up_and_a_cosine_by_hand():
    shares = [warmup_cosine(step, 7, 3) for step in range(8)]
    assert shares == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, (2 + 2**0.5) / 4, 1 / 2, (2 - 2**0.5) / 4, 0])


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 49))
def test_it_rises_to_one_and_falls_to_nearly_nothing(num_steps, warmup_steps):
    warmup_steps = min(warmup_steps, num_steps - 1)
    shares = [warmup_cosine(step, num_steps, warmup_steps) for step in range(num_steps)]
    assert shares[warmup_steps] == max(shares) == 1 and min(shares) > 0
    assert shares[: warmup_steps + 1] == sorted(shares[: warmup_steps + 1])
    assert shares[warmup_steps:] == sorted(shares[warmup_steps:], reverse=True)
