"""The loop: ask, measure, tell, until the generations are done. Resuming is running it again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from evoprune.compute import make_compute
from evoprune.config import Experiment
from evoprune.costs import code_costs
from evoprune.data import load_data
from evoprune.errors import UserError
from evoprune.evaluation import Evaluator
from evoprune.limits import Limits, make_limits
from evoprune.objectives import to_losses
from evoprune.progress import Meter, progress, say
from evoprune.records import Reports, Row, front_rows, report_columns
from evoprune.results import trade_offs, write_front
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.search import Candidate, NSGA3Searcher
from evoprune.setting import Setting
from evoprune.space import SearchSpace
from evoprune.workers import Job, Lost, Workers, open_workers, worker_device


def search(setting: Setting, folder: RunFolder) -> None:
    """Evolve codes and measure them; every measurement is a row of `reports.csv`, the front is `output.csv`.

    What is measured already is read from the file: the searcher asks for the same codes again, so an interrupted search
    goes on where it stopped and ends as if it had not been interrupted.
    """
    experiment, config = setting.experiment, setting.experiment.search
    reports = Reports(folder.reports, report_columns(setting.space, experiment.measures_latency))
    limits = make_limits(setting.space, config.limits)
    searcher = NSGA3Searcher(setting.space, config, limits, experiment.seed)
    with progress("search", experiment.num_evaluations, len(reports.rows)) as meter, ExitStack() as stack:
        measurer = _Measurer(setting, folder, reports, limits, meter, stack)
        for generation in range(config.generations + 1):
            candidates = searcher.ask()
            if not candidates:
                say("search: no new code is left")
                break
            rows = measurer.measure(candidates, generation)
            searcher.tell(_losses(rows, config.objectives), np.array([_violation(row, limits) for row in rows]))
            write_front(folder, reports.rows, experiment, setting.space)
    if not front_rows(reports.rows, config.objectives):
        raise UserError(f"no candidate succeeded; the column error of {folder.reports} says why")


class _Measurer:
    """Gets the rows of a generation: from `reports.csv` where they are, from workers where not."""

    def __init__(
        self, setting: Setting, folder: RunFolder, reports: Reports, limits: Limits, meter: Meter, stack: ExitStack
    ):
        self._setting, self._folder, self._reports, self._limits = setting, folder, reports, limits
        self._meter, self._stack = meter, stack
        self._workers: Workers | None = None
        self._num_asked = 0

    def measure(self, candidates: Sequence[Candidate], generation: int) -> list[Row]:
        """Rows of `candidates`, in their order."""
        asked = [self._identify(candidate, generation) for candidate in candidates]
        known = {row["id"]: row for row in self._reports.rows}
        for row in asked:
            if row["id"] in known and known[row["id"]]["key"] != row["key"]:
                raise UserError(
                    f"reports.csv: candidate {row['id']} is {known[row['id']]['key']}, "
                    f"this version asks for {row['key']}; a run goes on only with the versions in its run.json"
                )
        missing = [row for row in asked if row["id"] not in known]
        for row in self._run(missing):
            self._reports.append(row)
            known[row["id"]] = row
            self._meter.update(len(self._reports.rows), trade_offs(self._reports.rows, self._setting.experiment))
        self._reports.sort()
        return [known[row["id"]] for row in asked]

    def _identify(self, candidate: Candidate, generation: int) -> Row:
        space = self._setting.space
        self._num_asked += 1
        return {
            "id": self._num_asked - 1,
            "generation": generation,
            "proposal": candidate.proposal,
            "key": space.key(candidate.code),
            "code": space.format_code(candidate.code),
            "epochs": self._setting.experiment.evaluation.epochs,
            **{f"kept.{name}": width for name, width in space.widths(candidate.code).items()},
        }

    def _run(self, rows: Sequence[Row]) -> Iterator[Row]:
        if not rows:
            return
        if self._workers is None:
            factory = partial(
                evaluation_job, self._setting.experiment.for_workers(), self._setting.space, self._setting.base.network
            )
            self._stack.enter_context(timed_stage(self._folder, "search"))
            self._workers = self._stack.enter_context(open_workers(self._setting.experiment.workers, factory))
        for event in self._workers.map([row["code"] for row in rows]):
            row = {
                **rows[event.index],
                **self._measured(event.value, rows[event.index]),
                "worker": event.worker,
            }
            if row["status"] == "ok" and self._limits.violation(row) > 0:
                row["status"] = "infeasible"
            yield row

    def _measured(self, value: Any, row: Row) -> dict[str, Any]:
        if not isinstance(value, Lost):
            return value
        costs = code_costs(self._setting.space, self._setting.space.parse_code(row["code"]))
        return {**costs, "status": "failed", "error": value.reason, "seconds": None}


def evaluation_job(experiment: Experiment, space: SearchSpace, parent: nn.Module) -> Job:
    """Build, in a worker, what measures one code (as text) after the other."""
    workers = experiment.workers
    compute = make_compute(worker_device(workers), experiment.precision, workers.cpus_per_worker)
    data = load_data(experiment.data, compute.device)
    network = parent.to(compute.device).eval()
    evaluator = Evaluator(
        space, network, data, experiment.evaluation, compute, experiment.seed, experiment.measures_latency
    )

    def job(code: str) -> Iterator[dict[str, Any]]:
        yield from evaluator.evaluate([space.parse_code(code)], experiment.evaluation.epochs)

    return job


def _losses(rows: Sequence[Row], objectives: Sequence[str]) -> np.ndarray:
    """Losses, shape (rows, objectives); NaN for a candidate that failed."""
    failed = {name: np.nan for name in objectives}
    return to_losses([failed if row["status"] == "failed" else row for row in rows], objectives)


def _violation(row: Row, limits: Limits) -> float:
    return 0.0 if row["status"] == "failed" else limits.violation(row)
