"""Steady state, decision by decision: what is measured next, who is told, and what rows of an earlier process decide.

Whole searches are in `tests/stages/test_search.py` and `tests/end_to_end/test_steady_state.py`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import TINY, make_searcher, merge

from evoprune.config import Experiment, parse_experiment
from evoprune.search.candidate import Planned
from evoprune.search.proposals.evolution import Evolution
from evoprune.search.steady_state import Feeder
from evoprune.space.costs import code_costs
from evoprune.space.limits import make_limits
from evoprune.space.space import SearchSpace

STEADY: dict[str, Any] = {
    "search": {"mode": "steady_state", "random_samples": 4, "num_individual": 4, "generations": 2},
    "evaluation": {"epochs": 0.5, "ladder": [{"epochs": 0, "promote": 0.5}]},
}
EXPERIMENT = parse_experiment(merge(TINY, STEADY), "test")


def make_feeder(space: SearchSpace, experiment: Experiment = EXPERIMENT, batch_size: int = 1) -> Feeder:
    return Feeder(make_searcher(space, experiment.search), experiment, make_limits(space, {}), batch_size)


def row_of(space: SearchSpace, plan: Planned, **changes: Any) -> dict[str, Any]:
    """A made-up measurement: wider networks are better."""
    code = plan.candidate.code
    row = {"id": plan.candidate.id, "generation": plan.generation, "rung": plan.rung, "status": "ok"}
    row |= {"proposal": plan.candidate.proposal, "code": space.format_code(code), **code_costs(space, code)}
    return {**row, "accuracy": 100 * float(code.mean()) ** 0.5, **changes}


def work(feeder: Feeder, space: SearchSpace, batches: Iterator[list[Planned] | None]) -> list[dict[str, Any]]:
    """One worker that does all that is left."""
    rows = []
    while plans := next(batches):
        for plan in plans:
            rows.append(row_of(space, plan))
            feeder.arrive(plan, rows[-1])
    return rows


def test_who_earns_the_next_rung_is_measured_there_before_any_new_candidate(small_space):
    feeder = make_feeder(small_space)
    batches = feeder.batches()
    ((first,), (second,)) = next(batches), next(batches)
    feeder.arrive(first, row_of(small_space, first))
    assert feeder.num_told == 0, "it is told at its highest rung"
    (again,) = next(batches)
    assert (again.candidate, again.rung) == (first.candidate, 1)
    feeder.arrive(again, row_of(small_space, again))
    assert feeder.num_told == 1
    feeder.arrive(second, row_of(small_space, second, status="failed", accuracy=None))
    assert feeder.num_told == 2, "a failed one earns nothing"
    (third,) = next(batches)
    assert (third.candidate.id, third.rung) == (2, 0)


def test_there_is_nothing_to_do_until_two_of_the_first_are_told(small_space):
    experiment = EXPERIMENT.model_copy(update={"evaluation": EXPERIMENT.evaluation.model_copy(update={"ladder": ()})})
    feeder = make_feeder(small_space, experiment)
    batches = feeder.batches()
    first = [next(batches)[0] for _ in range(4)]
    assert [plan.candidate.id for plan in first] == [0, 1, 2, 3]
    for plan in first[:2]:
        assert next(batches) is None
        feeder.arrive(plan, row_of(small_space, plan))
    ((child,), (other,)) = next(batches), next(batches)
    assert (child.candidate.id, child.generation, other.generation) == (4, 1, 1)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_ends_when_all_generations_are_told(small_space, batch_size):
    feeder = make_feeder(small_space, batch_size=batch_size)
    rows = work(feeder, small_space, feeder.batches())
    assert {row["id"]: row["generation"] for row in rows} == {number: number // 4 for number in range(12)}
    assert feeder.num_told == 12 and not feeder.ran_out
    promoted = {row["id"] for row in rows if row["rung"] == 1}
    assert 2 <= len(promoted) < 12 and len(rows) == 12 + len(promoted), "each once at each of its rungs"


def test_rows_of_an_earlier_process_lead_to_the_same_decisions(small_space):
    whole = make_feeder(small_space)
    rows = work(whole, small_space, whole.batches())
    for kept in range(len(rows)):
        feeder = make_feeder(small_space)
        feeder.replay(rows[:kept], small_space)
        assert work(feeder, small_space, feeder.batches()) == rows[kept:]
        assert feeder.num_told == whole.num_told


def test_who_went_on_after_a_loss_is_told_once_when_the_search_goes_on(small_space):
    """The lost row stood in the window in which the others were compared."""
    experiment = parse_experiment(merge(TINY, merge(STEADY, {"search": {"generations": 6}})), "test")
    for lost in range(2, 12):
        feeder, rows = make_feeder(small_space, experiment), []
        batches = feeder.batches()
        while plans := next(batches):
            accuracy = 100 * np.random.default_rng(plans[0].candidate.id).random()
            is_lost = (plans[0].candidate.id, plans[0].rung) == (lost, 0)
            changes = {"status": "lost", "accuracy": None} if is_lost else {"accuracy": accuracy}
            rows.append(row_of(small_space, plans[0], **changes))
            feeder.arrive(plans[0], rows[-1])
        again = make_feeder(small_space, experiment)
        again.replay(rows, small_space)
        assert {row["id"] for row in work(again, small_space, again.batches())} == {lost}
        assert again.num_told == feeder.num_told == 28


def test_a_row_of_a_higher_rung_whose_lower_one_was_deleted_is_learned_all_the_same(small_space):
    feeder = make_feeder(small_space)
    rows = work(feeder, small_space, feeder.batches())
    promoted = next(row["id"] for row in rows if row["rung"] == 1)
    left = [row for row in rows if (row["id"], row["rung"]) != (promoted, 0)]
    again = make_feeder(small_space)
    again.replay(left, small_space)
    work(again, small_space, again.batches())  # a candidate may earn the next rung in its place
    assert again.num_told == feeder.num_told


def test_first_codes_are_made_again_only_where_one_of_them_is_missing(small_space, monkeypatch):
    """A worker may have been at one of them when the process ended, while children were measured already."""
    made = []
    first = Evolution.first
    monkeypatch.setattr(Evolution, "first", lambda self, number, rng: made.append(number) or first(self, number, rng))
    whole = make_feeder(small_space)
    rows = work(whole, small_space, whole.batches())
    for missing, again in ((None, 0), (1, 1), (3, 1), (6, 0)):
        made.clear()
        feeder = make_feeder(small_space)
        feeder.replay([row for row in rows[:12] if row["id"] != missing], small_space)
        codes = {row["id"]: row["code"] for row in work(feeder, small_space, feeder.batches())}
        assert bool(made) == bool(again), missing
        if missing in (1, 3):
            assert codes[missing] == next(row["code"] for row in rows if row["id"] == missing)


def test_the_window_of_a_rung_is_as_long_as_the_population(small_space):
    """Worse in everything than two of the last four earns nothing; two older ones that are better have no say."""
    feeder = make_feeder(small_space)
    batches = feeder.batches()
    plans = [plan for plan in (next(batches) for _ in range(4)) if plan]

    def earns(plan: Planned, accuracy: float, flops: int) -> bool:
        told = feeder.num_told
        feeder.arrive(plan, row_of(small_space, plan, accuracy=accuracy, flops=flops))
        return feeder.num_told == told

    (a,), (b,), (c,), (d,) = plans
    assert earns(a, 90.0, 10) and earns(b, 90.0, 9)
    assert not earns(c, 50.0, 20), "two of three are better"
    assert not earns(d, 51.0, 20), "two of four are better"
    again = [next(batches)[0] for _ in range(2)]  # a and b at their second rung
    for plan in again:
        feeder.arrive(plan, row_of(small_space, plan))
    (e,), (f,) = next(batches), next(batches)
    assert not earns(e, 49.0, 20), "b and d are better than it, of the last four"
    assert earns(f, 52.0, 20), "of the last four none is better"
