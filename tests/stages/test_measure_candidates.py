"""From candidates to rows: each is measured by a worker, judged by the limits, and on the disk when it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import load_data, prepared

from evoprune import load_model, slim_network
from evoprune.config import DataConfig, LimitConfig
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import CPU
from evoprune.pruning.moments import load_moments
from evoprune.runs.folder import RunFolder
from evoprune.runs.reports_csv import report_columns
from evoprune.runs.table import Table, read_rows
from evoprune.search.candidate import Candidate, Planned
from evoprune.space.costs import code_costs
from evoprune.space.limits import Limits, make_limits
from evoprune.space.ranking import prune_uniform
from evoprune.stages.context import Context
from evoprune.stages.measure_candidates import Measurer, candidate_workers
from evoprune.training.batch_norm import recalibrate
from evoprune.workers.local import LocalWorkers


class Meter:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.done: list[float] = []
        self.notes: list[str] = []

    def update(self, done: float, note: Any = str) -> None:
        self.done.append(done)
        self.notes.append(note())


@pytest.fixture
def context(tiny, tmp_path: Path) -> Context:
    return prepared(tiny(evaluation={"ladder": [], "recalibration_images": 64}), RunFolder(tmp_path))


@pytest.fixture
def table(context: Context) -> Table:
    return Table(context.folder.reports, report_columns([segment.name for segment in context.space.segments], False))


def plans(context: Context, rates: list[float]) -> list[Planned]:
    codes = [prune_uniform(context.space, np.zeros(context.space.length), rate) for rate in rates]
    return [Planned(Candidate(number, code, "random"), 7) for number, code in enumerate(codes)]


def no_limits(context: Context) -> Limits:
    return make_limits(context.space, {})


def measure(context: Context, table: Table, limits: Limits, batches: list[list[Planned]]) -> Meter:
    meter = Meter()
    with candidate_workers(context, "search") as start_workers:
        measurer = Measurer(context, limits, table, meter, start_workers)
        for plan, row in measurer.measure(iter(batches)):
            assert row["id"] == plan.candidate.id and row in table.rows
            assert len(pd.read_csv(context.folder.reports)) == len(table.rows), "it is on the disk"
    return meter


def test_a_row_says_what_was_measured_of_what(context, table):
    planned = plans(context, [0.0, 0.5])
    measure(context, table, no_limits(context), [[planned[0]], [planned[1]]])
    base, row = table.rows
    space, code = context.space, planned[1].candidate.code
    network = slim_network(space, load_model(context.folder.base), code, load_moments(context.folder.moments))
    data = load_data(DataConfig(**context.experiment.data.model_dump()), CPU.device)
    recalibrate(network, data, 64, CPU, seed=0)
    assert row["accuracy"] == accuracy(network, data, data.validation, CPU)
    assert (row["id"], row["generation"], row["rung"], row["proposal"], row["status"]) == (1, 7, 0, "random", "ok")
    assert row["key"] == space.key(code) and row["code"] == space.format_code(code)
    assert {name: row[name] for name in ("flops", "params", "bandwidth")} == code_costs(space, code)
    assert {name: row[f"kept.{name}"] for name in space.widths(code)} == space.widths(code)
    assert row["worker"] == "local" and row["epochs"] == 0.0 and row["seconds"] >= 0
    assert base["flops"] > row["flops"]


def test_a_batch_goes_to_a_worker_as_one_and_comes_back_as_rows(context, table):
    planned = plans(context, [0.0, 0.25, 0.5])
    meter = measure(context, table, no_limits(context), [planned[:2], planned[2:]])
    assert [row["id"] for row in table.rows] == [0, 1, 2]
    assert meter.done == [1, 2, 3] and meter.notes[-1].startswith("best accuracy, flops: ")


def test_who_breaks_a_limit_is_infeasible_and_who_fails_is_failed(context, table, tiny):
    limits = make_limits(context.space, {"flops": LimitConfig(max="50%"), "accuracy": LimitConfig(min=1)})
    measure(context, table, limits, [[plan] for plan in plans(context, [0.0, 0.6])])
    assert [row["status"] for row in table.rows] == ["infeasible", "ok"]
    failing = Context(tiny(evaluation={"time_limit_s": 1e-9}), context.folder)
    measure(failing, table, limits, [plans(context, [0.0, 0.6, 0.7])[2:]])
    assert table.rows[2]["status"] == "failed" and "time limit" in table.rows[2]["error"]
    assert read_rows(context.folder.reports)[2]["accuracy"] is None, "no limit can be judged"


def test_only_candidates_are_counted_and_each_once(context, table):
    """Rungs of a candidate, and rows that are measured again, are no further candidates."""
    first, second = plans(context, [0.25, 0.5])
    measure(context, table, no_limits(context), [[first], [second]])
    again = measure(context, table, no_limits(context), [[first]])
    assert again.done == [2] and len(table.rows) == 2


def test_workers_start_when_the_first_batch_comes_and_once(context, table):
    started: list[str] = []

    @contextmanager
    def opening(config: Any, factory: Any) -> Iterator[Any]:
        started.append("started")
        with LocalWorkers(factory) as workers:
            yield workers

    with candidate_workers(context, "measuring", opening) as start_workers:
        measurer = Measurer(context, no_limits(context), table, Meter(), start_workers)
        assert list(measurer.measure([])) == [] and started == []
        assert "workers" not in context.folder.facts()
        for plan in plans(context, [0.25, 0.5]):
            assert len(list(measurer.measure([[plan]]))) == 1
        assert start_workers() is start_workers()
    assert started == ["started"]
    facts = context.folder.facts()
    assert facts["workers"][0]["workers"] == 1 and facts["seconds"]["measuring"] >= 0


def test_a_stage_that_starts_no_worker_takes_no_time(context):
    with candidate_workers(context, "measuring"):
        pass
    assert "measuring" not in context.folder.facts().get("seconds", {})


def test_a_later_batch_may_depend_on_the_rows_before_it(context, table):
    """Batches are taken one by one, when a worker is idle."""
    planned = plans(context, [0.25, 0.5, 0.75])

    def batches() -> Iterator[list[Planned]]:
        for number, plan in enumerate(planned):
            assert len(table.rows) == number
            yield [plan]

    with candidate_workers(context, "search") as start_workers:
        measurer = Measurer(context, no_limits(context), table, Meter(), start_workers)
        assert len(list(measurer.measure(batches()))) == 3


class Timed(LocalWorkers):
    """Every candidate takes as long as it is told, or is lost; remembers the limits that it is told."""

    def __init__(self, seconds: list[float | None]):
        self.limits: list[float | None] = []
        left = iter(seconds)
        super().__init__(lambda: lambda batch: ({**_MEASURED, "seconds": next(left)} for _ in batch.codes))

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        self.limits.append(limit_s)
        super().begin(worker, item)


_MEASURED = {"status": "ok", "error": None, "accuracy": 50.0}


@pytest.mark.parametrize(("backend", "after"), [("ray", 10 + 30 * 0.5), ("local", None)])
def test_who_takes_30_times_the_longest_so_far_is_given_up(tiny, table, context, backend, after):
    """Only where eight are known, also where some of them are lost; a batch of two may take twice as long."""
    experiment = tiny(workers={"backend": backend, "num_workers": 1}, evaluation={"ladder": []})
    planned = plans(context, list(np.linspace(0, 0.7, 12)))
    batches = [[plan] for plan in planned[:10]] + [planned[10:]]
    with Timed([0.25, None, 0.5, *[0.25] * 9]) as workers:
        measurer = Measurer(Context(experiment, context.folder), no_limits(context), table, Meter(), lambda: workers)
        list(measurer.measure(iter(batches)))
    assert workers.limits == [None] * 9 + [after, after and 2 * after]


def test_a_time_limit_of_the_experiment_is_told_from_the_beginning(tiny, table, context):
    experiment = tiny(evaluation={"time_limit_s": 7.0, "ladder": []})
    first, second, third = plans(context, [0.0, 0.3, 0.6])
    with Timed([0.25] * 3) as workers:
        measurer = Measurer(Context(experiment, context.folder), no_limits(context), table, Meter(), lambda: workers)
        list(measurer.measure(iter([[first], [second, third]])))
    assert workers.limits == [17.0, 24.0]


def test_a_run_that_goes_on_in_another_precision_is_told_so(context, capsys):
    @contextmanager
    def started(*_: Any) -> Iterator[LocalWorkers]:
        yield LocalWorkers(lambda: lambda item: iter(()))

    for before, known, warnings in (([], ["fp32"], 0), (["bf16"], ["bf16", "fp32"], 1)):
        context.folder.note(precisions=before)
        with candidate_workers(context, "search", started) as start:
            start()
        assert context.folder.facts()["precisions"] == known
        assert capsys.readouterr().out.count("measured in bf16 and in fp32") == warnings
