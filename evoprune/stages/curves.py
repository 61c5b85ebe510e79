"""Sensitivity of the base network to the loss of whole groups: curves that workers measure, in tables of the run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evoprune.common.errors import UserError
from evoprune.common.objectives import LOST, Row
from evoprune.common.progress import say
from evoprune.config import Fidelity, ImportanceName
from evoprune.evaluation.candidate_job import Batch, as_measurement, missing_codes, time_limit
from evoprune.evaluation.worker import codes_per_batch
from evoprune.pruning.importance.sensitivity import Curves, Point, curves_of, plan_points
from evoprune.report.figures import draw_sensitivity
from evoprune.runs.live_progress import stage_progress
from evoprune.runs.table import Table, read_rows
from evoprune.space.costs import code_costs
from evoprune.space.ranking import RANKINGS, Ranking, prune_by_offsets
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.measure_candidates import candidate_workers
from evoprune.stages.taken_files import take_copy
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Workers

PRIOR_RATES, PRIOR_IMAGES = (0.25, 0.5, 0.75, 0.875), 1000
COLUMNS = (
    *("id", "segment", "rate", "kept", "status", "accuracy", "flops", "params", "images", "seconds"),
    *("worker", "error", "key", "code"),
)


def measure_sensitivity(context: Context, name: ImportanceName, images: int | None) -> Curves:
    """Measure every group's curve on `images` validation images (None: all); leave a table and a picture."""
    path = context.folder.sensitivity(name)
    plan = CurvePlan(path, plan_points(context.space, context.scores(name)), images)
    with candidate_workers(context, f"sensitivity.{name}") as start_workers:
        _measure_curves(context, plan, start_workers)
    curves = read_curves(path, context.space)
    pictures = context.experiment.report.files(path.with_suffix(""))
    draw_sensitivity(pictures, curves)
    say(f"sensitivity: {', '.join(map(str, (path, *pictures)))}")
    return curves


def read_curves(path: Path, space: SearchSpace) -> Curves:
    """Read what `evoprune sensitivity` wrote.

    Raises:
        UserError: no such file, or one that is not whole or of another search space.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evoprune sensitivity EXPERIMENT` writes one")
    return curves_of(read_rows(path), space, path)


def measured_images(path: Path) -> int | None:
    """Of how many validation images a table is; None for all of them, or where there is none yet."""
    rows = read_rows(path) if path.is_file() else []
    images: int | None = rows[0]["images"] if rows else None
    return images


def prior_curves(context: Context, start_workers: Callable[[], Workers]) -> Curves | None:
    """What evolution's first codes know of the segments: measured for this search, read from a file, or nothing.

    Five points a curve and `PRIOR_IMAGES` images do, as only the order of the segments and rough widths matter. Once
    the search has begun the curves stay as they are, lost points included, as its first codes follow from them.
    """
    config, folder = context.experiment.search, context.folder
    path = folder.sensitivity("prior")
    if config.sensitivity_file is not None:
        take_copy(folder, "search.sensitivity", config.sensitivity_file, path)
    elif config.measures_sensitivity:
        points = plan_points(context.space, context.scores(config.prior), PRIOR_RATES)
        has_begun = folder.reports.is_file() and bool(read_rows(folder.reports))
        _measure_curves(context, CurvePlan(path, points, PRIOR_IMAGES, retry_lost=not has_begun), start_workers)
        if any(row["accuracy"] is None for row in read_rows(path) if row["rate"] == 0):
            say(f"{path}: the base network could not be measured; the first codes keep like shares of all segments")
            return None
    else:
        return None
    return read_curves(path, context.space)


def make_ranking(context: Context, name: ImportanceName) -> Ranking:
    """The ranking that the experiment names; for that by sensitivity a short curve of each group is measured first."""
    ranking = context.experiment.importance.ranking
    if ranking != "sensitivity":
        return RANKINGS[ranking]
    path = context.folder.sensitivity(f"ranking_{name}")
    plan = CurvePlan(path, plan_points(context.space, context.scores(name), PRIOR_RATES), PRIOR_IMAGES)
    with candidate_workers(context, f"ranking.{name}") as start_workers:
        _measure_curves(context, plan, start_workers)
    return partial(prune_by_offsets, read_curves(path, context.space).offsets())


def num_prior_measurements(space: SearchSpace) -> int:
    """How many networks `prior_curves` measures; the base network is one of them."""
    return len({space.format_code(point.code) for point in plan_points(space, np.zeros(space.length), PRIOR_RATES)})


@dataclass(frozen=True)
class CurvePlan:
    """Curves that are to be measured.

    Attributes:
        path: the table, which is added to row by row.
        points: of every curve.
        images: how many validation images are scored, None for all. A table of another number is made anew.
        retry_lost: whether points whose workers died in an earlier process are measured again.
    """

    path: Path
    points: Sequence[Point]
    images: int | None
    retry_lost: bool = True


def _measure_curves(context: Context, plan: CurvePlan, start_workers: Callable[[], Workers]) -> None:
    """Measure what is missing of the curves, for `read_curves` to read; workers start where something is missing."""
    path = plan.path
    path.parent.mkdir(exist_ok=True)
    table = Table(path, COLUMNS, place=("id",))
    if any(row["images"] != plan.images for row in table.rows):
        say(f"{path}: is of another number of images; measured again")
        path.unlink()
        table = Table(path, COLUMNS, place=("id",))
    _check_points(context.space, plan, table.rows)
    missing = [point for point in plan.points if _is_missing(table.find(point.id), plan.retry_lost)]
    if missing:
        for row in _measure(context, start_workers(), missing, plan.images):
            table.append(row)
    table.sort()


def _check_points(space: SearchSpace, plan: CurvePlan, rows: Sequence[Row]) -> None:
    """Raise UserError where a row is not one of the points that are to be measured."""
    keys = {point.id: (point.group.name, space.key(point.code)) for point in plan.points}
    for row in rows:
        if keys.get(row["id"]) != (row["segment"], row["key"]) or row["rate"] is None:
            raise UserError(
                f"{plan.path}: point {row['id']} is not one of this network's; delete the file, and the same command "
                "measures it again"
            )


def _is_missing(row: Row | None, retry_lost: bool) -> bool:
    return row is None or (retry_lost and row["status"] == LOST)


def _measure(context: Context, workers: Workers, points: Sequence[Point], images: int | None) -> Iterator[Row]:
    """Measure the codes of `points`, each once, though that of the base network stands for several points."""
    experiment, space = context.experiment, context.space
    waiting: dict[str, list[Point]] = {}
    for point in points:
        waiting.setdefault(space.format_code(point.code), []).append(point)
    codes, size = list(waiting), codes_per_batch(experiment, space)
    fidelity = Fidelity(0.0, images)
    batches = [Batch(tuple(codes[first : first + size]), fidelity) for first in range(0, len(codes), size)]
    with stage_progress(context.folder, "sensitivity", len(codes)) as meter:
        limit = partial(time_limit, experiment.evaluation)
        events = dispatch(workers, batches, experiment.workers.retries, missing_codes, limit)
        for done, event in enumerate(events, start=1):
            if event.part < len(batches[event.index].codes):
                for point in waiting[batches[event.index].codes[event.part]]:
                    yield _point_row(space, point, images) | as_measurement(event.value) | {"worker": event.worker}
            meter.update(done)


def _point_row(space: SearchSpace, point: Point, images: int | None) -> Row:
    return {
        "id": point.id,
        "segment": point.group.name,
        "rate": point.rate,
        "kept": point.kept,
        "images": images,
        "key": space.key(point.code),
        "code": space.format_code(point.code),
        **code_costs(space, point.code),
    }
