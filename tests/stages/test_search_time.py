"""The time of a search by hand, from a candidate whose times are round numbers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evoprune import UserError
from evoprune.config import Experiment
from evoprune.evaluation.evaluator import Evaluator
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context
from evoprune.stages.curves import PRIOR_IMAGES
from evoprune.stages.probe import Probe
from evoprune.stages.search_time import CandidateTimes, estimate_s, time_candidate

FIXED_S, EPOCH_S, CURVE_S, LATENCY_S = 2.0, 100.0, 0.5, 4.0
ONE_AT_ONCE = {"candidates_per_batch": 1}


@pytest.fixture
def round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates, however many at once, take 2 s without training, 0.5 s for sensitivity, and 100 s an epoch.

    Their latency takes 4 s.
    """

    def second_time(work: Callable[[], object]) -> float:
        assert isinstance(work, partial)
        fidelity, timed = work.args
        whole_s = FIXED_S + EPOCH_S * fidelity.epochs + LATENCY_S * timed
        return CURVE_S if fidelity == (0.0, PRIOR_IMAGES) else whole_s

    monkeypatch.setattr("evoprune.stages.search_time.second_time", second_time)


def predict(experiment: Experiment) -> tuple[CandidateTimes, float]:
    """The times of a candidate, and those of all 8."""
    probe = Probe(Context(experiment, RunFolder(Path("unused"))))
    times = time_candidate(probe)
    return times, estimate_s(probe, times)


def test_a_candidate_takes_its_epochs_and_what_surrounds_them(make_experiment: Any, round_numbers: None) -> None:
    times, whole = predict(make_experiment(evaluation={"epochs": 0.1}, workers=ONE_AT_ONCE))
    assert times.fixed == (FIXED_S,) and times.per_epoch == pytest.approx(EPOCH_S) and times.curve_point == 0
    assert times.whole_s == pytest.approx(2 + 0.1 * 100) and whole == pytest.approx(8 * 12)


def test_sensitivity_is_measured_before_the_search(make_experiment: Any, round_numbers: None) -> None:
    """4 groups of 4 channels keep 3, 2 and 1; 4 groups of 8 keep 6, 4, 2, 1; 4 groups of 16 keep 12, 8, 4, 2, 1."""
    _, without = predict(make_experiment(workers=ONE_AT_ONCE))
    times, found = predict(make_experiment(search={"sensitivity": "measured"}, workers=ONE_AT_ONCE))
    assert times.curve_point == CURVE_S
    assert found - without == pytest.approx((1 + 4 * 3 + 4 * 4 + 4 * 5) * CURVE_S)


def test_the_ladder_measures_fewer_at_every_rung(make_experiment: Any, round_numbers: None) -> None:
    ladder = [{"epochs": 0, "promote": 0.5}, {"epochs": 0.1, "promote": 0.25}]
    times, found = predict(make_experiment(evaluation={"epochs": 1.0, "ladder": ladder}, workers=ONE_AT_ONCE))
    assert times.whole_s == pytest.approx(102)
    assert found == pytest.approx(8 * (2 + 0.5 * (2 + 10) + 0.5 * 0.25 * (2 + 100)))


def test_candidates_that_are_measured_together_share_the_time(make_experiment: Any, round_numbers: None) -> None:
    """Four at once take as long as one here."""
    times, found = predict(make_experiment(workers={"candidates_per_batch": 4}))
    assert times.whole_s == pytest.approx(FIXED_S / 4) and found == pytest.approx(8 * FIXED_S / 4)


def test_latency_is_measured_by_one_worker_after_the_other(make_experiment: Any, round_numbers: None) -> None:
    workers = {"backend": "ray", "num_workers": 4, **ONE_AT_ONCE}
    latency = {"objectives": ["accuracy", "latency"]}
    times, found = predict(make_experiment(search=latency, evaluation={"epochs": 0.1}, workers=workers))
    assert times.latency == LATENCY_S and times.per_epoch == pytest.approx(EPOCH_S)
    assert times.whole_s == pytest.approx(2 + 10 + 4) and found == pytest.approx(8 * 12 / 4 + 8 * 4)


@pytest.mark.parametrize("inherit", ["plain", "compensated"])
def test_slim_networks_inherit_as_those_of_the_search(make_experiment: Any, monkeypatch: Any, inherit: str) -> None:
    given = []
    make = Evaluator.__init__
    monkeypatch.setattr(Evaluator, "__init__", lambda self, *facts: given.append(facts[-1]) or make(self, *facts))
    predict(make_experiment(inherit=inherit))
    assert [moments is not None for moments in given] == [inherit == "compensated"]


def test_a_candidate_that_fails_is_no_measure(make_experiment: Any) -> None:
    with pytest.raises(UserError, match="time limit"):
        predict(make_experiment(evaluation={"time_limit_s": 1e-9}))
