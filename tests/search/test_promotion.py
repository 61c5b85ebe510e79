"""Who is promoted to the next rung of the fidelity ladder, by hand."""

import random
from typing import Any

import numpy as np
import pytest

from evoprune.config import LimitConfig
from evoprune.search.promotion import best, promoted
from evoprune.space.limits import Limits, make_limits
from evoprune.space.space import SearchSpace

OBJECTIVES = ("accuracy", "flops")


def row(number: int, accuracy: float | None, flops: int, status: str = "ok") -> dict[str, Any]:
    return {"id": number, "accuracy": accuracy, "flops": flops, "status": status}


@pytest.fixture
def no_limits(small_space: SearchSpace) -> Limits:
    return make_limits(small_space, {})


# Rank 0: 0, 1, 2, 3; rank 1: 4, 5; rank 2: 6. Candidates 1 and 2 stand close together.
LOSSES = np.array([[0.0, 10.0], [4.0, 5.0], [4.5, 4.5], [10.0, 0.0], [4.0, 6.0], [9.0, 5.0], [9.5, 9.5]])


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0, []), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 4, 5]), (9, [*range(7)])],
)
def test_the_best_are_whole_ranks_and_then_the_thin_parts(number, wanted):
    assert best(LOSSES, number) == wanted


@pytest.mark.parametrize(("share", "measured", "number"), [(0.33, 3, 1), (0.33, 4, 2), (0.07, 100, 7), (0.5, 1, 1)])
def test_the_share_is_rounded_up(no_limits, share, measured, number):
    rows = [row(i, 50.0 + i, 100 + i) for i in range(measured)]
    assert len(promoted(rows, share, OBJECTIVES, no_limits)) == number


def test_failed_rows_count_as_measured_and_are_never_promoted(no_limits):
    rows = [row(0, None, 1, "failed"), row(1, None, 1, "failed"), row(2, 50.0, 10), row(3, 40.0, 10)]
    assert [r["id"] for r in promoted(rows, 0.25, OBJECTIVES, no_limits)] == [2]
    assert [r["id"] for r in promoted(rows, 0.99, OBJECTIVES, no_limits)] == [2, 3]


def test_the_order_in_which_workers_finished_has_no_say(no_limits):
    rows = [row(i, float(20 + i % 7), 100 - i % 5) for i in range(40)]  # many ties
    wanted = [r["id"] for r in promoted(rows, 0.3, OBJECTIVES, no_limits)]
    for seed in range(10):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert [r["id"] for r in promoted(shuffled, 0.3, OBJECTIVES, no_limits)] == wanted


def test_only_what_training_can_mend_is_forgiven(small_space):
    """Candidate 0 is too inaccurate so far, which may change; candidate 1 is too large for ever."""
    limits = make_limits(small_space, {"accuracy": LimitConfig(min=60), "flops": LimitConfig(max=50_000)})
    rows = [row(0, 30.0, 40_000, "infeasible"), row(1, 90.0, 60_000, "infeasible")]
    assert [r["id"] for r in promoted(rows, 0.9, OBJECTIVES, limits)] == [0]
