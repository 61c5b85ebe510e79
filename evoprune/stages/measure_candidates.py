"""From candidates to rows of `reports.csv`: batches go to the workers, what they measure goes to the disk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from itertools import chain

from evoprune.common.objectives import INFEASIBLE, OK, Row
from evoprune.common.progress import Meter, say
from evoprune.config import WorkersConfig
from evoprune.evaluation.candidate_job import SPARE_S, Batch, as_measurement, candidate_job, missing_codes, time_limit
from evoprune.evaluation.worker import describe_workers, one_by_one
from evoprune.report.latencies import base_latency_ms
from evoprune.report.tables import trade_offs
from evoprune.runs.folder import timed_stage
from evoprune.runs.table import Table
from evoprune.search.candidate import Planned
from evoprune.search.front import num_candidates
from evoprune.space.costs import code_costs
from evoprune.space.limits import Limits
from evoprune.stages.context import Context
from evoprune.workers.dispatch import Event, dispatch
from evoprune.workers.jobs import JobFactory, Workers
from evoprune.workers.pool import open_workers

_TIMES_THE_LONGEST, _FEWEST_KNOWN = 30, 8
OpenWorkers = Callable[[WorkersConfig, JobFactory], AbstractContextManager[Workers]]


def job_factory(context: Context) -> JobFactory:
    """What builds `candidate_job` in every worker."""
    base, arrays = context.base.network, context.dataset.arrays
    return partial(candidate_job, context.experiment, context.space, base, arrays, context.moments)


@contextmanager
def candidate_workers(
    context: Context, stage: str, open_workers: OpenWorkers = open_workers
) -> Iterator[Callable[[], Workers]]:
    """Yield what returns the workers that measure candidates; they start with its first call.

    `run.json` gets what they are, and how long `stage` had them.
    """
    experiment, folder = context.experiment, context.folder
    with ExitStack() as stack:

        @cache
        def start() -> Workers:
            stack.enter_context(timed_stage(folder, stage))
            workers = stack.enter_context(open_workers(experiment.workers, job_factory(context)))
            _note_workers(context, workers)
            return workers

        yield start


def _note_workers(context: Context, workers: Workers) -> None:
    """`run.json` gets what the workers are; who mixes precisions, such as by another machine, is told."""
    experiment, folder = context.experiment, context.folder
    kinds = describe_workers(workers, experiment)
    precisions = sorted({*folder.facts().get("precisions", []), *(kind["precision"] for kind in kinds)})
    fault = one_by_one(experiment, context.space, context.base.network)
    folder.note(workers=kinds, precisions=precisions, **({"one_by_one": fault} if fault else {}))
    if len(precisions) > 1:
        say(
            f"warning: precision: candidates of this run are measured in {' and in '.join(precisions)}, and such "
            "accuracies compare less well; for one of them set precision, and choose another --out"
        )


class Measurer:
    """Has plans measured by the workers, which are started when the first one comes.

    Args:
        context: of the run.
        limits: rows that break one are `infeasible`.
        table: `reports.csv`.
        meter: is told how many candidates are measured.
        start_workers: returns the workers.
    """

    def __init__(
        self, context: Context, limits: Limits, table: Table, meter: Meter, start_workers: Callable[[], Workers]
    ):
        self._experiment, self._space, self._limits = context.experiment, context.space, limits
        self._table, self._meter, self._start_workers = table, meter, start_workers
        self._workers: Workers | None = None
        self._num_candidates = num_candidates(table.rows)
        self._base_ms = base_latency_ms(context.folder)

    def measure(self, batches: Iterable[Sequence[Planned] | None]) -> Iterator[tuple[Planned, Row]]:
        """Yield every row, and what it was planned as, when it is in `reports.csv`.

        Args:
            batches: each for one worker and of one rung; taken one by one as `dispatch` takes its items, where None
                says "nothing for now".
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        if self._workers is None:
            self._workers = self._start_workers()
        taken: list[Sequence[Planned]] = []
        items = self._items(chain([first], batches), taken)
        retries = self._experiment.workers.retries
        for event in dispatch(self._workers, items, retries, missing_codes, self._limit):
            if event.part >= len(taken[event.index]):
                continue  # more than was asked for
            planned = taken[event.index][event.part]
            row = self._row(planned, event)
            self._record(row)
            yield planned, row

    def _items(
        self, batches: Iterable[Sequence[Planned] | None], taken: list[Sequence[Planned]]
    ) -> Iterator[Batch | None]:
        for batch in batches:
            if batch is None:
                yield None
                continue
            taken.append(batch)
            codes = tuple(self._space.format_code(planned.candidate.code) for planned in batch)
            fidelity = self._experiment.evaluation.fidelities[batch[0].rung]
            yield Batch(codes, fidelity, self._experiment.measures_latency)

    def _row(self, planned: Planned, event: Event) -> Row:
        code = planned.candidate.code
        row = {
            "id": planned.candidate.id,
            "generation": planned.generation,
            "rung": planned.rung,
            "proposal": planned.candidate.proposal,
            "key": self._space.key(code),
            "code": self._space.format_code(code),
            "epochs": self._experiment.evaluation.fidelities[planned.rung].epochs,
            **{f"kept.{name}": width for name, width in self._space.widths(code).items()},
            **code_costs(self._space, code),
            **as_measurement(event.value, self._base_ms),
            "worker": event.worker,
        }
        if row["status"] == OK and self._limits.violation(row) > 0:
            row["status"] = INFEASIBLE
        return row

    def _limit(self, batch: Batch) -> float | None:
        """Seconds after which the worker of a batch is ended: it should have given up by itself long before."""
        given = time_limit(self._experiment.evaluation, batch)
        if given is not None:
            return given
        known = [
            row["seconds"]
            for row in self._table.rows
            if row["epochs"] == batch.fidelity.epochs and row.get("seconds") is not None
        ]
        if self._experiment.workers.backend == "local" or len(known) < _FEWEST_KNOWN:
            return None
        return (SPARE_S + _TIMES_THE_LONGEST * max(known)) * len(batch.codes)

    def _record(self, row: Row) -> None:
        is_new = self._table.find(row["id"], row["rung"]) is None
        self._table.append(row)
        self._num_candidates += is_new and row["rung"] == 0
        self._meter.update(self._num_candidates, partial(trade_offs, self._table.rows, self._experiment))
