"""Schedules against values by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune.common.schedules import RISES, cubic, in_steps, logarithmic, logarithmic_from_zero, warmup_cosine


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


def test_the_logarithmic_rise_is_that_of_the_source():
    """U = 0.8, every 3rd of 60 passes: as its code computes them, to three digits."""
    values = [round(0.8 * in_steps(logarithmic, passes / 60, 20), 3) for passes in range(61)]
    events = values[::3]
    assert events[:6] == [0.179, 0.284, 0.359, 0.417, 0.464, 0.504] and events[-3:] == [0.775, 0.788, 0.8]
    assert values == [events[passes // 3] for passes in range(61)]


def test_the_other_rises_begin_at_nothing_and_end_exactly():
    assert (logarithmic_from_zero(0, 20), logarithmic_from_zero(1, 20)) == (0, 1)
    assert [cubic(progress, 9) for progress in (0, 0.5, 1)] == [0, 0.875, 1]
    assert [in_steps(RISES["once"], progress, 5) for progress in (0, 0.5, 1)] == [1, 1, 1]


@settings(deadline=None)
@given(st.sampled_from(sorted(RISES)), st.integers(1, 100))
def test_every_rise_never_falls_and_ends_at_one(name, changes):
    shares = [in_steps(RISES[name], progress / 200, changes) for progress in range(301)]
    assert shares == sorted(shares) and min(shares) >= 0
    assert shares[200] == shares[300] == pytest.approx(1, abs=1e-12)
    assert len(set(shares)) == (1 if name == "once" else min(changes, 200) + 1)
