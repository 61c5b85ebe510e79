"""The front of a table's rows, and how much of the plane it dominates."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evoprune.common.errors import UserError
from evoprune.config import LimitConfig
from evoprune.search.front import (
    front_rows,
    fronts_by_generation,
    full_row,
    hypervolume_by_evaluation,
    hypervolumes,
    latest_rows,
    losses_and_violations,
    num_candidates,
)
from evoprune.space.costs import code_costs
from evoprune.space.limits import make_limits

NAMES = ["accuracy", "flops"]


def make_row(number: int, accuracy: float | None, flops: float, **changes: Any) -> dict[str, Any]:
    """A row of generation `number` // 2 of what matters here."""
    row = {"id": number, "generation": number // 2, "rung": 0, "status": "ok", "proposal": "evolution"}
    return {**row, "accuracy": accuracy, "flops": flops, "params": 10, "bandwidth": 10, "latency": 1.0, **changes}


def make_rows(points: list[tuple[float, int]]) -> list[dict[str, Any]]:
    return [make_row(number, accuracy, flops) for number, (accuracy, flops) in enumerate(points)]


def test_candidates_are_counted_once_whatever_rungs_they_climb():
    assert num_candidates([{"id": 0, "rung": 0}, {"id": 0, "rung": 1}, {"id": 1, "rung": 1}]) == 2


def test_the_base_network_is_its_row_of_the_highest_rung():
    first, second = make_row(0, 50.0, 100, proposal="full"), make_row(0, 90.0, 100, proposal="full", rung=1)
    assert full_row([make_row(1, 60.0, 10), first, second]) is second
    assert full_row([{**first, "status": "failed"}, make_row(1, 60.0, 10)]) is None
    broken = {**second, "status": "infeasible"}
    assert full_row([first, broken]) is broken, "a limit of half of its own costs says nothing against its accuracy"


def test_the_front_is_the_good_rows_cheapest_first():
    rows = make_rows([(90.0, 100), (80.0, 50), (85.0, 100), (70.0, 50), (60.0, 10), (80.0, 50)])
    rows.append(make_row(6, None, 1, status="failed"))
    rows.append(make_row(7, 99.0, 1, status="infeasible"))
    assert [row["id"] for row in front_rows(rows, NAMES)] == [4, 1, 5, 0]
    assert front_rows(rows[6:], NAMES) == []


def test_a_candidate_is_what_its_highest_rung_says():
    """Candidate 0 fell from 90 to 70 % on the second rung, where 1 rose; 2 failed there; in any order of rows."""
    rows = [
        make_row(0, 90.0, 100),
        make_row(0, 70.0, 100, rung=1),
        make_row(1, 75.0, 100, rung=1),
        make_row(1, 10.0, 100),
        make_row(2, 99.0, 100),
        make_row(2, None, 100, rung=1, status="failed"),
    ]
    assert [(row["id"], row["rung"]) for row in latest_rows(rows)] == [(0, 1), (1, 1), (2, 1)]
    assert [(row["id"], row["accuracy"]) for row in front_rows(rows, NAMES)] == [(1, 75.0)]


def test_fronts_by_generation_are_those_of_all_rows_until_then():
    rows = make_rows([(50.0, 90), (40.0, 50), (60.0, 90), (45.0, 60), (30.0, 10), (70.0, 100), (40.0, 50)])
    rows[4]["status"] = "failed"
    fronts = fronts_by_generation(rows[::-1], NAMES)
    assert [sorted(row["id"] for row in front) for front in fronts] == [
        [0, 1],
        [1, 2, 3],
        [1, 2, 3, 5],
        [1, 2, 3, 5, 6],
    ]
    assert fronts_by_generation([], NAMES) == []


def test_losses_are_negated_accuracies_and_nothing_where_a_candidate_was_not_measured(small_space):
    limits = make_limits(small_space, {"accuracy": LimitConfig(min=60), "flops": LimitConfig(max=50_000)})
    rows = [
        make_row(0, 80.0, 40_000),
        make_row(1, 30.0, 75_000, status="infeasible"),
        make_row(2, None, 99_000, status="failed"),
        make_row(3, None, 99_000, status="lost"),
    ]
    losses, violations = losses_and_violations(rows, NAMES, limits)
    assert losses[:2].tolist() == [[-80.0, 40_000], [-30.0, 75_000]]
    assert np.isnan(losses[2:]).all()
    assert violations == pytest.approx([0, 30 / 60 + 25_000 / 50_000, 0, 0])


def test_hypervolumes_by_hand(small_space):
    """Losses in shares: (0.5, 1.0), then (0.4, 0.5) and a failure, then one that is dominated."""
    full = code_costs(small_space, small_space.full_code())["flops"]
    rows = make_rows([(50.0, full), (60.0, full / 2), (20.0, full), (55.0, full)])
    rows[0]["generation"], rows[3]["generation"] = 0, 2
    rows[1]["generation"] = rows[2]["generation"] = 1
    rows[2]["status"] = "failed"
    assert hypervolumes(rows, NAMES, small_space) == pytest.approx([0.0, 0.6 * 0.5, 0.6 * 0.5])


@pytest.mark.parametrize(("status", "reference"), [("ok", 4.0), ("failed", 8.0)])
def test_latency_is_measured_against_the_full_network_or_the_slowest_one(small_space, status, reference):
    rows = [
        make_row(0, 50.0, 1, latency=4.0 if status == "ok" else None, proposal="full", status=status),
        make_row(1, 50.0, 1, latency=2.0, generation=0),
        make_row(2, 10.0, 1, latency=8.0, generation=0),
    ]
    assert hypervolumes(rows, ["accuracy", "latency"], small_space) == pytest.approx([0.5 * (1 - 2 / reference)])


def test_nothing_measured_dominates_nothing(small_space):
    assert hypervolumes([], NAMES, small_space) == []
    assert hypervolumes([make_row(0, None, 1, status="failed")], NAMES, small_space) == [0.0]


def test_hypervolume_grows_with_each_evaluation_up_to_that_of_the_generations(small_space):
    full = code_costs(small_space, small_space.full_code())["flops"]
    rng = np.random.default_rng(0)
    rows = [
        make_row(i, float(rng.uniform(0, 100)), int(rng.uniform(0.1, 1) * full), generation=i // 5) for i in range(20)
    ]
    rows[7]["status"] = "failed"
    volumes = hypervolume_by_evaluation(rows, NAMES, small_space)
    assert len(volumes) == 20 and volumes == sorted(volumes) and volumes[7] == volumes[6]
    assert volumes[4::5] == pytest.approx(hypervolumes(rows, NAMES, small_space))
    assert hypervolume_by_evaluation([], NAMES, small_space) == []


@pytest.mark.parametrize("names", [[], ["acc", "flops"]])
def test_names_that_are_no_objectives_are_refused(small_space, names):
    with pytest.raises(UserError, match=r"names are some of accuracy, flops, .*; got \["):
        hypervolume_by_evaluation([], names, small_space)


def test_a_column_that_the_rows_lack_is_named(small_space):
    rows = [{name: value for name, value in make_row(0, 50.0, 1).items() if name != "latency"}]
    with pytest.raises(UserError, match="got latency, which they do not have"):
        hypervolume_by_evaluation(rows, ["accuracy", "latency"], small_space)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_latency_that_was_not_measured_is_no_number(small_space, nothing):
    """By hand: the slowest has 2 ms, at half the accuracy; the other is twice as fast."""
    rows = [make_row(i, 50.0, 1, latency=ms) for i, ms in enumerate((nothing, 2.0, 1.0))]
    rows[0] |= {"proposal": "full", "status": "failed"}
    found = hypervolume_by_evaluation(rows, ["accuracy", "latency"], small_space)
    assert found == pytest.approx([0, 0, 0.25])


def test_a_table_of_pandas_is_not_taken_for_rows(small_space):
    with pytest.raises(UserError, match=r"rows are dicts; got str; of a pandas table take table.to_dict"):
        hypervolume_by_evaluation(pd.DataFrame({"accuracy": [1.0], "flops": [1]}), NAMES, small_space)
