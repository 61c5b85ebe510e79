"""The loop: ask, measure, tell, until all candidates are measured. Resuming is running it again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evoprune.errors import UserError
from evoprune.ladder import promoted
from evoprune.limits import Limits, make_limits
from evoprune.measuring import (
    Measurer,
    OpenWorkers,
    Planned,
    codes_per_batch,
    evaluation_workers,
    losses_and_violations,
    num_candidates,
)
from evoprune.progress import Meter, progress, say
from evoprune.proposals import make_proposals
from evoprune.records import Reports, Row, front_rows, report_columns
from evoprune.results import write_front
from evoprune.run_folder import RunFolder
from evoprune.search import NSGA3Searcher, Searcher
from evoprune.sensitivity import prior_curves
from evoprune.sensitivity_curves import Curves
from evoprune.setting import Setting
from evoprune.steady_state import Feeder
from evoprune.workers import Workers, open_workers

_SECONDS_BETWEEN_FRONTS = 10.0


def search(setting: Setting, folder: RunFolder, open_workers: OpenWorkers = open_workers) -> None:
    """Evolve codes and measure them; every measurement is a row of `reports.csv`, the front is `output.csv`.

    What is in `reports.csv` is not measured again, so an interrupted search goes on where it stopped.

    Args:
        setting: experiment, search space and parent network.
        folder: of the run.
        open_workers: starts the workers, once there is something to measure.
    """
    experiment, config = setting.experiment, setting.experiment.search
    reports = Reports(folder.reports, report_columns(setting.space, experiment.measures_latency))
    with evaluation_workers(setting, folder, "search", open_workers) as start_workers:
        curves = prior_curves(setting, folder, start_workers)
        with progress("search", experiment.num_evaluations, num_candidates(reports.rows)) as meter:
            state = _begin(setting, folder, reports, curves, meter, start_workers)
            {"generational": _by_generation, "steady_state": _steadily}[config.mode](state)
    if not front_rows(reports.rows, config.objectives):
        raise UserError(f"no candidate succeeded; the column error of {folder.reports} says why")


@dataclass(frozen=True)
class _Search:
    setting: Setting
    folder: RunFolder
    reports: Reports
    limits: Limits
    searcher: Searcher
    measurer: Measurer
    batch_size: int

    def write_front(self) -> None:
        write_front(self.folder, self.reports.rows, self.setting.experiment, self.setting.space)


def _begin(
    setting: Setting,
    folder: RunFolder,
    reports: Reports,
    curves: Curves | None,
    meter: Meter,
    start_workers: Callable[[], Workers],
) -> _Search:
    experiment, space = setting.experiment, setting.space
    limits = make_limits(space, experiment.search.limits)
    proposals = make_proposals(space, experiment, setting.scores, curves)
    searcher = NSGA3Searcher(space, experiment.search, limits, proposals, experiment.seed)
    measurer = Measurer(experiment, space, limits, reports, meter, start_workers)
    return _Search(setting, folder, reports, limits, searcher, measurer, codes_per_batch(experiment, space))


def _by_generation(search: _Search) -> None:
    """A whole generation climbs the ladder, then all of it is told; asked again, the same codes come again."""
    config = search.setting.experiment.search
    for generation in range(config.generations + 1):
        candidates = search.searcher.ask(config.num_individual if generation else search.searcher.num_first)
        if not candidates:
            say("search: no new code is left")
            break
        rows = _climb(search, [Planned(candidate, generation) for candidate in candidates])
        search.searcher.tell(candidates, *losses_and_violations(rows, config.objectives, search.limits))
        search.write_front()


def _climb(search: _Search, planned: Sequence[Planned]) -> list[Row]:
    """Measure candidates rung by rung; returns each one's row of its highest rung, in their order."""
    experiment = search.setting.experiment
    rows = _measure(search, planned)
    highest = {row["id"]: row for row in rows}
    for rung, config in enumerate(experiment.evaluation.ladder, start=1):
        earned = {row["id"] for row in promoted(rows, config.promote, experiment.search.objectives, search.limits)}
        planned = [replace(plan, rung=rung) for plan in planned if plan.candidate.id in earned]
        rows = _measure(search, planned)
        highest.update({row["id"]: row for row in rows})
    return list(highest.values())


def _measure(search: _Search, planned: Sequence[Planned]) -> list[Row]:
    """Rows of `planned`, in their order: from `reports.csv` where they are there, from the workers where not."""
    missing = [plan for plan in planned if not _is_known(search, plan)]
    batches = [missing[first : first + search.batch_size] for first in range(0, len(missing), search.batch_size)]
    for _ in search.measurer.measure(batches):
        pass  # the rows are in search.reports
    search.reports.sort()
    rows = [search.reports.find(plan.candidate.id, plan.rung) for plan in planned]
    return [row for row in rows if row is not None]


def _is_known(search: _Search, plan: Planned) -> bool:
    row = search.reports.find(plan.candidate.id, plan.rung)
    key = search.setting.space.key(plan.candidate.code)
    if row is not None and row["key"] != key:
        raise UserError(
            f"reports.csv: candidate {row['id']} is {row['key']}, this version asks for {key}; "
            "a run goes on only with the versions in its run.json"
        )
    return row is not None


def _steadily(search: _Search) -> None:
    """Whenever a worker is idle it gets the next job, and every candidate is told when its last row comes."""
    experiment = search.setting.experiment
    feeder = Feeder(search.searcher, experiment, search.limits, search.batch_size)
    feeder.replay(search.reports.rows, search.setting.space)
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
