"""The job of a search: text codes in, the evaluator's measurements out."""

import pytest

from evoprune import slim_network
from evoprune.config import EvaluationConfig, Fidelity
from evoprune.data.sources import load_raw_data
from evoprune.data.split import make_dataset
from evoprune.data.tensors import place_data
from evoprune.evaluation.candidate_job import Batch, as_measurement, candidate_job, missing_codes, time_limit
from evoprune.evaluation.evaluator import Evaluator
from evoprune.networks.device import CPU
from evoprune.space.space import Code
from evoprune.workers.dispatch import Broken, Lost


def timeless(measured: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in measured]


@pytest.mark.parametrize("at_once", [1, 2])
def test_every_code_of_a_batch_has_the_evaluators_measurement_in_its_place(
    make_experiment, small_space, small_base, mixed_codes, at_once
):
    experiment = make_experiment(seed=3, workers={"candidates_per_batch": at_once})
    arrays = make_dataset(load_raw_data(experiment.data), experiment.data).arrays
    job = candidate_job(experiment, small_space, small_base.train(), arrays)
    assert not small_base.training
    codes, fidelity = mixed_codes[:3], Fidelity(0.0, 100)
    evaluator = Evaluator(
        small_space,
        small_base,
        place_data(arrays, CPU.device),
        experiment.evaluation,
        CPU,
        seed=3,
        candidates_at_once=at_once,
    )
    for _ in range(2):  # a worker does one batch after the other, and none leaves a trace
        measured = list(job(Batch(tuple(map(small_space.format_code, codes)), fidelity)))
        assert [row["status"] for row in measured] == ["ok"] * 3
        assert timeless(measured) == timeless(evaluator.evaluate(codes, fidelity))
        params = [sum(p.numel() for p in slim_network(small_space, small_base, code).parameters()) for code in codes]
        assert [row["params"] for row in measured] == params


def test_a_measurement_is_reported_before_the_next_code_of_its_batch_is_begun(
    make_experiment, small_space, small_base, mixed_codes, monkeypatch
):
    """What ends the worker then costs one measurement, where candidates cannot train together."""
    experiment = make_experiment(workers={"candidates_per_batch": 1})
    job = candidate_job(
        experiment, small_space, small_base, make_dataset(load_raw_data(experiment.data), experiment.data).arrays
    )
    begun: list[Code] = []
    real = Evaluator._evaluate_one
    monkeypatch.setattr(Evaluator, "_evaluate_one", lambda *given: begun.append(given[1]) or real(*given))
    batch = Batch(tuple(map(small_space.format_code, mixed_codes[:3])), Fidelity(0.0, 100))
    assert [len(begun) for row in job(batch) if row["status"] == "ok"] == [1, 2, 3]


def test_latency_is_measured_where_it_is_an_objective(make_experiment, small_space, small_base):
    experiment = make_experiment(search={"objectives": ["accuracy", "latency"]}, evaluation={"latency_limit_s": 0.05})
    arrays = make_dataset(load_raw_data(experiment.data), experiment.data).arrays
    job = candidate_job(experiment, small_space, small_base, arrays)
    batch = Batch((small_space.format_code(small_space.full_code()),), Fidelity(0.0, 10), timed=True)
    (row,) = job(batch)
    assert row["latency"] > 0 and as_measurement(row)["latency_spread"] == row["latency_spread"] >= 0
    assert as_measurement(row, base_ms=12.0)["latency"] == pytest.approx(12.0, rel=0.3), "the base network's, once more"
    assert missing_codes(batch, 0) == [batch], "what is tried again is timed too"


OK = {"status": "ok", "error": None, "accuracy": 50.0, "seconds": 1.0}


@pytest.mark.parametrize(
    ("told", "base_ms", "wanted"),
    [
        ({"latency": 3.0, "base_latency": 4.0}, 2.0, 1.5),
        ({"latency": 3.0, "base_latency": 4.0}, None, 3.0),
        ({"latency": 3.0, "base_latency": None}, 2.0, 3.0),
        ({"latency": 3.0, "base_latency": 0.0}, 2.0, 3.0),
    ],
)
def test_a_latency_is_told_on_the_scale_of_the_base_networks_first_one(told, base_ms, wanted):
    """A machine on which the base network takes twice as long as at first makes 3 ms of what takes 1.5."""
    measured = as_measurement({**OK, **told}, base_ms)
    assert measured["latency"] == wanted and "base_latency" not in measured


def test_what_a_dead_worker_did_not_measure_goes_on_code_by_code():
    batch = Batch(("h1", "h2", "h3"), Fidelity(0.5, 10))
    assert missing_codes(batch, 1) == [Batch(("h2",), batch.fidelity), Batch(("h3",), batch.fidelity)]
    assert missing_codes(batch, 3) == []


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (Lost("gone"), {"status": "lost", "error": "gone"}),
        (Broken("KeyError: 'k'"), {"status": "failed", "error": "KeyError: 'k'"}),
        ({"status": "failed", "error": "oom", "flops": 3}, {"status": "failed", "error": "oom"}),
        (
            {"status": "ok", "error": None, "accuracy": 5.0, "seconds": 1.0, "key": "../x", "id": 9},
            {"status": "ok", "error": None, "accuracy": 5.0, "seconds": 1.0},
        ),
    ],
)
def test_what_was_reported_becomes_cells_of_a_row(value, row):
    assert as_measurement(value) == row


@pytest.mark.parametrize(
    "value", [None, 3, "ok", {}, {"status": "ok"}, {"status": "ok", "accuracy": float("nan")}, [1] * 9**5]
)
def test_what_is_no_measurement_is_a_failed_row(value):
    row = as_measurement(value)
    assert row["status"] == "failed" and row["error"].startswith("the worker has returned no measurement, but ")
    assert len(row["error"]) < 200


def test_a_batch_may_take_the_limit_of_each_of_its_codes_and_a_little_more():
    batch = Batch(("h00", "h01", "h02"), Fidelity(0.0))
    assert time_limit(EvaluationConfig(time_limit_s=20.0), batch) == 3 * 20 + 10
    assert time_limit(EvaluationConfig(), batch) is None
