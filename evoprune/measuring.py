"""From candidates to rows of `reports.csv`: batches go to the workers, what they measure goes to the disk."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
from torch import nn

from evoprune.config import Experiment, Fidelity, WorkersConfig
from evoprune.costs import code_costs
from evoprune.data import Arrays, place_data, split_data
from evoprune.datasets import load_raw_data
from evoprune.evaluation import Evaluator
from evoprune.limits import Limits
from evoprune.objectives import to_losses
from evoprune.population import candidates_per_batch
from evoprune.progress import Meter
from evoprune.records import Reports, Row
from evoprune.results import trade_offs
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.search import Candidate
from evoprune.setting import Setting
from evoprune.space import SearchSpace
from evoprune.worker_shape import shape_here, worker_compute, worker_device
from evoprune.workers import Job, JobFactory, Lost, Workers, describe_workers, open_workers

OpenWorkers = Callable[[WorkersConfig, JobFactory], AbstractContextManager[Workers]]


@dataclass(frozen=True)
class Batch:
    """Codes, as text, that one worker measures at one fidelity: an item of work."""

    codes: tuple[str, ...]
    fidelity: Fidelity


def codes_per_batch(experiment: Experiment, space: SearchSpace) -> int:
    """Codes of an item of work: what a worker trains at once, but a generation has something for every worker."""
    config = experiment.workers
    most = candidates_per_batch(config, worker_device(config), space, experiment.evaluation.batch_size)
    return min(most, math.ceil(experiment.search.num_individual / shape_here(config).num_workers))


def job_factory(setting: Setting) -> JobFactory:
    """What builds `evaluation_job` in every worker; the images are read and split here, once."""
    config = setting.experiment.data
    arrays = split_data(load_raw_data(config), config)
    return partial(evaluation_job, setting.experiment, setting.space, setting.base.network, arrays)


@contextmanager
def evaluation_workers(
    setting: Setting, folder: RunFolder, stage: str, open_workers: OpenWorkers = open_workers
) -> Iterator[Callable[[], Workers]]:
    """Yield what returns the workers that measure candidates; they start with its first call.

    `run.json` gets what they are, and how long `stage` had them.
    """
    with ExitStack() as stack:

        @cache
        def start() -> Workers:
            stack.enter_context(timed_stage(folder, stage))
            workers = stack.enter_context(open_workers(setting.experiment.workers, job_factory(setting)))
            folder.note(workers=describe_workers(workers, setting.experiment))
            return workers

        yield start


def evaluation_job(experiment: Experiment, space: SearchSpace, parent: nn.Module, arrays: Arrays) -> Job:
    """Build, in a worker, what measures one `Batch` after the other: one measurement for each code, in order."""
    compute = worker_compute(experiment)
    data = place_data(arrays, compute.device)
    network = parent.to(compute.device).eval()
    evaluator = Evaluator(
        space,
        network,
        data,
        experiment.evaluation,
        compute,
        experiment.seed,
        experiment.measures_latency,
        codes_per_batch(experiment, space),
    )

    def job(batch: Batch) -> Iterator[dict[str, Any]]:
        yield from evaluator.evaluate([space.parse_code(code) for code in batch.codes], batch.fidelity)

    return job


@dataclass(frozen=True)
class Planned:
    """A row that is still to be measured: a candidate, its generation, and the rung."""

    candidate: Candidate
    generation: int
    rung: int = 0


class Measurer:
    """Has plans measured by the workers, which are started when the first one comes."""

    def __init__(
        self,
        experiment: Experiment,
        space: SearchSpace,
        limits: Limits,
        reports: Reports,
        meter: Meter,
        start_workers: Callable[[], Workers],
    ):
        self._experiment, self._space, self._limits = experiment, space, limits
        self._reports, self._meter, self._start_workers = reports, meter, start_workers
        self._workers: Workers | None = None
        self._num_candidates = num_candidates(reports.rows)

    def measure(self, batches: Iterable[Sequence[Planned] | None]) -> Iterator[tuple[Planned, Row]]:
        """Yield every row, and what it was planned as, when it is in `reports.csv`.

        Args:
            batches: each for one worker and of one rung; taken one by one as `Workers.map` takes its items, where None
                says "nothing for now".
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        if self._workers is None:
            self._workers = self._start_workers()
        waiting: list[deque[Planned]] = []
        for event in self._workers.map(self._items(chain([first], batches), waiting)):
            batch = waiting[event.index]
            lost = isinstance(event.value, Lost)
            for planned in [batch.popleft() for _ in range(len(batch) if lost else 1)]:
                row = self._row(planned, event.value, event.worker)
                self._record(row)
                yield planned, row

    def _items(
        self, batches: Iterable[Sequence[Planned] | None], waiting: list[deque[Planned]]
    ) -> Iterator[Batch | None]:
        for batch in batches:
            if batch is None:
                yield None
                continue
            waiting.append(deque(batch))
            codes = tuple(self._space.format_code(planned.candidate.code) for planned in batch)
            yield Batch(codes, self._experiment.evaluation.fidelities[batch[0].rung])

    def _row(self, planned: Planned, value: Any, worker: str) -> Row:
        code = planned.candidate.code
        if isinstance(value, Lost):
            value = {**code_costs(self._space, code), "status": "failed", "error": value.reason, "seconds": None}
        row = {
            "id": planned.candidate.id,
            "generation": planned.generation,
            "rung": planned.rung,
            "proposal": planned.candidate.proposal,
            "key": self._space.key(code),
            "code": self._space.format_code(code),
            "epochs": self._experiment.evaluation.fidelities[planned.rung].epochs,
            **{f"kept.{name}": width for name, width in self._space.widths(code).items()},
            **value,
            "worker": worker,
        }
        if row["status"] == "ok" and self._limits.violation(row) > 0:
            row["status"] = "infeasible"
        return row

    def _record(self, row: Row) -> None:
        self._reports.append(row)
        self._num_candidates += row["rung"] == 0
        self._meter.update(self._num_candidates, partial(trade_offs, self._reports.rows, self._experiment))


def num_candidates(rows: Iterable[Row]) -> int:
    """How many candidates `rows` hold."""
    return sum(row["rung"] == 0 for row in rows)


def losses_and_violations(
    rows: Sequence[Row], objectives: Sequence[str], limits: Limits
) -> tuple[np.ndarray, np.ndarray]:
    """Losses, shape (rows, objectives), NaN for a candidate that failed; violations, shape (rows,)."""
    nothing = {name: np.nan for name in objectives}
    failed = [row["status"] == "failed" for row in rows]
    losses = to_losses([nothing if bad else row for row, bad in zip(rows, failed, strict=True)], objectives)
    violations = [0.0 if bad else limits.violation(row) for row, bad in zip(rows, failed, strict=True)]
    return losses, np.array(violations)
