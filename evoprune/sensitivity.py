"""How much accuracy each segment costs when it alone is cut, measured on the workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evoprune.config import Experiment, Fidelity
from evoprune.costs import code_costs
from evoprune.cutting import keep_best
from evoprune.importance.segments import Scores
from evoprune.measuring import Batch, codes_per_batch
from evoprune.progress import progress, say
from evoprune.records import Reports, Row, read_rows
from evoprune.run_folder import RunFolder
from evoprune.sensitivity_curves import Curves, group_name, read_curves
from evoprune.setting import Setting
from evoprune.space import Code, SearchSpace
from evoprune.workers import Lost, Workers

TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
PRIOR_RATES, PRIOR_IMAGES = (0.5, 0.75), 1000
COLUMNS = (
    *("id", "segment", "rate", "kept", "status", "accuracy", "flops", "params", "images", "seconds"),
    *("worker", "error", "key", "code"),
)


@dataclass(frozen=True)
class Point:
    """A place on the curve of a group of tied segments: how many channels stay, and the code that says so."""

    id: int
    group: tuple[str, ...]
    kept: int
    rate: float
    code: Code


def plan_points(space: SearchSpace, scores: Scores, rates: Sequence[float] = TENTHS) -> list[Point]:
    """Every group of `space.tied` cut alone: not at all, by each of `rates`, and down to one channel.

    As everywhere, int(rate x width) channels go; rates that come to the same number are one point.
    """
    width = {segment.name: segment.width for segment in space.segments}
    points: list[Point] = []
    for group in space.tied:
        full = width[group[0]]
        for kept in sorted({full, 1, *(full - int(rate * full + 1e-9) for rate in rates)}, reverse=True):
            code = keep_best(space, scores, {**width, **dict.fromkeys(group, kept)})
            points.append(Point(len(points), group, kept, round(1 - kept / full, 12), code))
    return points


def measure_curves(
    setting: Setting, path: Path, plan: Sequence[Point], images: int | None, start_workers: Callable[[], Workers]
) -> None:
    """Measure what is missing of the curves, for `read_curves` to read.

    Args:
        setting: experiment, search space, parent network.
        path: the table, which is added to row by row.
        plan: the points of every curve.
        images: how many validation images are scored, None for all. A table of another number is made anew.
        start_workers: called once, where something is missing.
    """
    path.parent.mkdir(exist_ok=True)
    if path.is_file() and any(row["images"] != images for row in read_rows(path)):
        say(f"{path}: is of another number of images; measured again")
        path.unlink()
    table = Reports(path, COLUMNS, place=("id",))
    missing = [point for point in plan if table.find(point.id) is None]
    if missing:
        _measure(setting, start_workers(), table, missing, images)
    table.sort()


def prior_curves(setting: Setting, folder: RunFolder, start_workers: Callable[[], Workers]) -> Curves | None:
    """What evolution's first codes know of the segments: measured for this search, read from a file, or nothing.

    Three points a curve and `PRIOR_IMAGES` images do, as only the order of the segments and rough widths matter.
    """
    config = setting.experiment.search
    path = config.sensitivity_file
    if config.prior is not None and config.measures_sensitivity:
        path = folder.sensitivity("prior")
        plan = plan_points(setting.space, setting.scores[config.prior], PRIOR_RATES)
        measure_curves(setting, path, plan, PRIOR_IMAGES, start_workers)
        if any(row["accuracy"] is None for row in read_rows(path) if row["rate"] == 0):
            say(f"{path}: the uncut network could not be measured; the first codes keep like shares of all segments")
            return None
    return None if path is None else read_curves(path, setting.space)


def num_prior_measurements(space: SearchSpace) -> int:
    """How many networks `prior_curves` measures; the uncut one is one of them."""
    return len({space.format_code(point.code) for point in plan_points(space, np.zeros(space.length), PRIOR_RATES)})


def measured_images(path: Path) -> int | None:
    """Of how many validation images a table is; None for all of them, or where there is none yet."""
    rows = read_rows(path) if path.is_file() else []
    images: int | None = rows[0]["images"] if rows else None
    return images


def _measure(setting: Setting, workers: Workers, table: Reports, points: Sequence[Point], images: int | None) -> None:
    """Measure the codes of `points`, each once, though that of the uncut network stands for several points."""
    space = setting.space
    waiting: dict[str, list[Point]] = {}
    for point in points:
        waiting.setdefault(space.format_code(point.code), []).append(point)
    batches = _batches(list(waiting), setting.experiment, space, images)
    left = [list(batch.codes) for batch in batches]
    with progress("sensitivity", len(waiting)) as meter:
        for event in workers.map(batches):
            lost = isinstance(event.value, Lost)
            for _ in range(len(left[event.index]) if lost else 1):
                text = left[event.index].pop(0)
                value = {"status": "failed", "error": event.value.reason} if lost else event.value
                for point in waiting[text]:
                    table.append(_row(space, point, images) | value | {"worker": event.worker})
            meter.update(len(waiting) - sum(map(len, left)))


def _batches(codes: Sequence[str], experiment: Experiment, space: SearchSpace, images: int | None) -> list[Batch]:
    size = codes_per_batch(experiment, space)
    fidelity = Fidelity(0.0, images)
    return [Batch(tuple(codes[first : first + size]), fidelity) for first in range(0, len(codes), size)]


def _row(space: SearchSpace, point: Point, images: int | None) -> Row:
    return {
        "id": point.id,
        "segment": group_name(point.group),
        "rate": point.rate,
        "kept": point.kept,
        "images": images,
        "key": space.key(point.code),
        "code": space.format_code(point.code),
        **code_costs(space, point.code),
    }
