"""The loop: ask, measure, tell, until all candidates are measured. Resuming is running it again."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.common.objectives import INFEASIBLE, Row
from evoprune.common.progress import Meter, progress, say
from evoprune.evaluation.worker import codes_per_batch
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.latencies import base_latency_ms
from evoprune.report.output import write_front
from evoprune.runs.reports_csv import NEWER, report_columns
from evoprune.runs.table import Table
from evoprune.search.candidate import Candidate, Planned
from evoprune.search.front import front_rows, losses_and_violations, num_candidates
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.promotion import promoted
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.search.searcher import Searcher
from evoprune.search.steady_state import Feeder
from evoprune.search.stored_rows import check_rows
from evoprune.space.limits import Limits, make_limits
from evoprune.space.ranking import Scores
from evoprune.stages.base_latency import settle_base_latency
from evoprune.stages.context import Context
from evoprune.stages.curves import prior_curves
from evoprune.stages.lost_rows import LostRows
from evoprune.stages.measure_candidates import Measurer, OpenWorkers, candidate_workers
from evoprune.workers.jobs import Workers
from evoprune.workers.pool import open_workers

_SECONDS_BETWEEN_FRONTS = 10.0


def search(context: Context, open_workers: OpenWorkers = open_workers) -> None:
    """Evolve codes and measure them; every measurement is a row of `reports.csv`, the front is `output.csv`.

    What is in `reports.csv` is not measured again, so an interrupted search goes on where it stopped. Only candidates
    whose workers died are.

    Args:
        context: of the run; its folder has the base network and the importances of the proposals.
        open_workers: starts the workers, once there is something to measure.
    """
    experiment, config = context.experiment, context.experiment.search
    columns = report_columns([segment.name for segment in context.space.segments], experiment.measures_latency)
    table = Table(context.folder.reports, columns, newer=NEWER)
    check_rows(table.rows, experiment, context.space, context.folder.reports)
    with candidate_workers(context, "search", open_workers) as start_workers:
        curves = prior_curves(context, start_workers)
        start_workers = settle_base_latency(context, start_workers)
        with progress("search", experiment.num_evaluations, num_candidates(table.rows)) as meter:
            state = _begin(context, table, curves, meter, start_workers)
            {"generational": _by_generation, "steady_state": _steadily}[config.mode](state)
    if not front_rows(table.rows, config.objectives):
        raise UserError(nothing_found(table.rows, context.folder.reports, state.limits))


def nothing_found(rows: Sequence[Row], path: Path, limits: Limits) -> str:
    """Why a search has no front."""
    broken = [row for row in rows if row["status"] == INFEASIBLE]
    failed = f"{len(rows) - len(broken)} of the {len(rows)} rows of {path} failed, as their column error says"
    if not broken:
        return f"no candidate succeeded: {failed}; put that right"
    nearest = min(broken, key=limits.violation)
    longer = "search for longer" if len(rows) > 1 else "raise search.random_samples: no other candidate was asked for"
    rounding = f", or lower search.round_to ({limits.round_to}), which keeps networks wide" * (limits.round_to > 1)
    return (
        f"no candidate succeeded: {len(broken)} break search.limits, and {failed}. The nearest, {nearest['key']}, has "
        f"{', '.join(limits.faults(nearest))}; widen that limit, or {longer}{rounding}"
    )


@dataclass(frozen=True)
class _Search:
    context: Context
    table: Table
    limits: Limits
    searcher: Searcher
    measurer: Measurer
    batch_size: int

    @cached_property
    def lost(self) -> LostRows:
        """As they are when the search goes on: made before its first measurement."""
        return LostRows(self.table, self.context.space)

    def write_front(self) -> None:
        write_front(self.context.folder, self.table.rows, self.context.experiment, self.context.space)


def _begin(
    context: Context, table: Table, curves: Curves | None, meter: Meter, start_workers: Callable[[], Workers]
) -> _Search:
    experiment, space = context.experiment, context.space
    config = experiment.search
    limits = make_limits(space, config.limits, base_latency_ms(context.folder), config.round_to)
    scores: dict[str, Scores] = {name: context.scores(name) for name in experiment.search.importances}
    proposals = make_proposals(knowledge(context, scores, curves))
    searcher = NSGA3Searcher(space, experiment.search, limits, proposals, experiment.seed)
    searcher.plan(context.folder.facts().get("generations", ()))
    measurer = Measurer(context, limits, table, meter, start_workers)
    return _Search(context, table, limits, searcher, measurer, codes_per_batch(experiment, space))


def knowledge(context: Context, scores: Mapping[str, Scores], curves: Curves | None) -> Knowledge:
    """What the proposals may know before the first measurement."""
    accuracy = context.base.info["validation_accuracy"]
    known = Knowledge(context.space, context.experiment, scores, base_accuracy=accuracy)
    if curves is None:
        return known
    return replace(known, offsets=curves.offsets(), curves=tuple(zip(curves.rates, curves.losses, strict=True)))


def _by_generation(search: _Search) -> None:
    """A whole generation climbs the ladder, then all of it is told; asked again, the same codes come again."""
    config = search.context.experiment.search
    num_asked, written = 0, time.monotonic()
    for generation in range(config.generations + 1):
        candidates = _recall(search, generation, num_asked) or search.searcher.ask(
            config.num_individual if generation else search.searcher.num_first
        )
        if not candidates:
            say("search: no new code is left")
            break
        planned = [Planned(candidate, generation) for candidate in candidates]
        again = search.lost.measured_in(generation, num_asked)
        num_asked += len(candidates)
        by_id = {plan.candidate.id: plan.candidate for plan in (*planned, *again)}
        rows = _climb(search, planned, again)
        told = [by_id[row["id"]] for row in rows]
        search.searcher.tell(told, *losses_and_violations(rows, config.objectives, search.limits))
        if time.monotonic() - written >= _SECONDS_BETWEEN_FRONTS:
            search.write_front()
            written = time.monotonic()
    search.table.sort()  # the file does not tell which worker was faster
    search.write_front()


def _recall(search: _Search, generation: int, first: int) -> list[Candidate]:
    """The candidates of a generation that `reports.csv` has in full, from number `first` on: to ask again takes long.

    None of the first generation, which is asked for at any rate: this version must still ask for the same.
    """
    ids = range(first, first + search.context.experiment.search.num_individual) if generation else ()
    rows = [row for row in (search.table.find(number, 0) for number in ids) if row is not None]
    if len(rows) < len(ids) or any(row["generation"] != generation for row in rows):
        return []  # or one of them was lost, and measured again in a later generation
    candidates = [Candidate(row["id"], search.context.space.parse_code(row["code"]), row["proposal"]) for row in rows]
    search.searcher.remember(candidates)
    return candidates


def _climb(search: _Search, planned: Sequence[Planned], again: Sequence[Planned]) -> list[Row]:
    """Measure candidates rung by rung, those of `again` from their own rung on; returns each one's highest row."""
    experiment = search.context.experiment
    highest: dict[int, Row] = {}
    for rung in range(len(experiment.evaluation.fidelities)):
        planned = [*planned, *(plan for plan in again if plan.rung == rung)]
        rows = _measure(search, planned)
        highest.update({row["id"]: row for row in rows})
        if rung < len(experiment.evaluation.ladder):
            share = experiment.evaluation.ladder[rung].promote
            earned = {row["id"] for row in promoted(rows, share, experiment.search.objectives, search.limits)}
            planned = [replace(plan, rung=rung + 1) for plan in planned if plan.candidate.id in earned]
    return list(highest.values())


def _measure(search: _Search, planned: Sequence[Planned]) -> list[Row]:
    """Rows of `planned`, in their order: from `reports.csv` where they are there, from the workers where not."""
    missing = [plan for plan in planned if not _is_known(search, plan)]
    batches = [missing[first : first + search.batch_size] for first in range(0, len(missing), search.batch_size)]
    for _ in search.measurer.measure(batches):
        pass  # the rows are in search.table
    return [search.lost.as_told(plan, search.table.find(plan.candidate.id, plan.rung)) for plan in planned]


def _is_known(search: _Search, plan: Planned) -> bool:
    row, space = search.table.find(plan.candidate.id, plan.rung), search.context.space
    if row is not None and row["code"] != space.format_code(plan.candidate.code):
        raise UserError(
            f"{search.context.folder.reports}: candidate {row['id']} is {row['key']}, where the search asks for "
            f"{space.key(plan.candidate.code)}: the table was changed, or written by other versions than those in "
            "run.json; put it back as it was, or choose another --out"
        )
    return row is not None and not search.lost.is_measured_again(plan)


def _steadily(search: _Search) -> None:
    """Whenever a worker is idle it gets the next job, and every candidate is told when its last row comes."""
    experiment = search.context.experiment
    feeder = Feeder(search.searcher, experiment, search.limits, search.batch_size)
    feeder.replay(search.table.rows, search.context.space)
    told, written = feeder.num_told, time.monotonic()
    for plan, row in search.measurer.measure(feeder.batches()):
        feeder.arrive(plan, row)
        enough = feeder.num_told - told >= experiment.search.num_individual
        if enough and time.monotonic() - written >= _SECONDS_BETWEEN_FRONTS:
            search.write_front()
            told, written = feeder.num_told, time.monotonic()
    if feeder.ran_out:
        say("search: no new code is left")
    search.write_front()
