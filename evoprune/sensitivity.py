"""How much accuracy each segment costs when it alone is cut, measured on the workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from evoprune.config import Experiment, Fidelity, ImportanceName
from evoprune.costs import code_costs
from evoprune.cutting import keep_best
from evoprune.importance.segments import Scores
from evoprune.measuring import Batch, codes_per_batch, job_factory
from evoprune.progress import progress, say
from evoprune.records import Reports, Row, read_rows
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.sensitivity_curves import Curves, group_name, read_curves
from evoprune.setting import Setting
from evoprune.space import Code, SearchSpace
from evoprune.workers import Lost, describe_workers, open_workers

_RATES = tuple(tenth / 10 for tenth in range(10))
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


def plan_points(space: SearchSpace, scores: Scores) -> list[Point]:
    """Every group of `space.tied` cut alone, by 0, 10, ..., 90 % of its channels and down to one.

    As everywhere, int(rate x width) channels go; rates that come to the same number are one point.
    """
    width = {segment.name: segment.width for segment in space.segments}
    points: list[Point] = []
    for group in space.tied:
        full = width[group[0]]
        for kept in sorted({1, *(full - int(rate * full + 1e-9) for rate in _RATES)}, reverse=True):
            code = keep_best(space, scores, {**width, **dict.fromkeys(group, kept)})
            points.append(Point(len(points), group, kept, round(1 - kept / full, 12), code))
    return points


def measure_sensitivity(setting: Setting, folder: RunFolder, method: ImportanceName, images: int | None) -> Curves:
    """Measure what is missing of the curves; returns all of them.

    Args:
        setting: experiment, search space, parent network, and the scores of `method`.
        folder: of the run; the table is `folder.sensitivity(method)`, and is added to row by row.
        method: the importance that says which channels go first.
        images: how many validation images are scored, None for all. A table of another number is made anew.
    """
    path = folder.sensitivity(method)
    path.parent.mkdir(exist_ok=True)
    if path.is_file() and any(row["images"] != images for row in read_rows(path)):
        say(f"{path}: is of another number of images; measured again")
        path.unlink()
    table = Reports(path, COLUMNS, place=("id",))
    points = [point for point in plan_points(setting.space, setting.scores[method]) if table.find(point.id) is None]
    if points:
        with timed_stage(folder, f"sensitivity.{method}"):
            _measure(setting, folder, table, points, images)
    table.sort()
    return read_curves(path, setting.space)


def measured_images(folder: RunFolder, method: ImportanceName) -> int | None:
    """Of how many validation images the table of `method` is; None for all of them, or where there is none yet."""
    path = folder.sensitivity(method)
    rows = read_rows(path) if path.is_file() else []
    images: int | None = rows[0]["images"] if rows else None
    return images


def _measure(setting: Setting, folder: RunFolder, table: Reports, points: Sequence[Point], images: int | None) -> None:
    """Measure the codes of `points`, each once, though that of the uncut network stands for several points."""
    space, experiment = setting.space, setting.experiment
    waiting: dict[str, list[Point]] = {}
    for point in points:
        waiting.setdefault(space.format_code(point.code), []).append(point)
    batches = _batches(list(waiting), experiment, space, images)
    with (
        progress("sensitivity", len(waiting)) as meter,
        open_workers(experiment.workers, job_factory(setting)) as workers,
    ):
        folder.note(workers=describe_workers(workers, experiment))
        left = [list(batch.codes) for batch in batches]
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
