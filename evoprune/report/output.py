"""Tables of results for pandas: `output.csv`, the front, and `summary.csv`, the steps of a pruning."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoprune.common.files import write_atomically
from evoprune.common.model_files import DESCRIPTION_NAME, WEIGHTS_NAME
from evoprune.common.objectives import Row
from evoprune.config import Experiment
from evoprune.report.tables import ACCURACIES, summary_table
from evoprune.runs.folder import RunFolder
from evoprune.runs.models import Pruning, finished_steps, known_models, step_folder
from evoprune.runs.reports_csv import report_columns
from evoprune.runs.table import read_rows, write_table
from evoprune.search.front import front_rows, hypervolume_by_evaluation, latest_rows
from evoprune.space.costs import COST_NAMES, code_costs
from evoprune.space.space import Code, SearchSpace

_RETRAINED = ("test_accuracy", "test_accuracy_std", "num_seeds", "model")


def write_front(folder: RunFolder, rows: Sequence[Row], experiment: Experiment, space: SearchSpace) -> list[Row]:
    """Write `output.csv`: the rows of `tested_front`, which are returned."""
    front = tested_front(folder, rows, experiment)
    columns = report_columns([segment.name for segment in space.segments], experiment.measures_latency)
    write_table(folder.output, front, columns + [name for name in _RETRAINED if any(name in row for row in front)])
    return front


def tested_front(folder: RunFolder, rows: Sequence[Row], experiment: Experiment) -> list[Row]:
    """The non-dominated rows, with test accuracy and model path where they are fully trained.

    Where a model is gone, as in published results, what `output.csv` already says of it is kept; also where it is being
    trained again.
    """
    written = {row.get("key"): row for row in read_rows(folder.output)} if folder.output.exists() else {}
    front = []
    for row in front_rows(rows, experiment.search.objectives):
        is_gone = not (folder.model(row["key"]) / DESCRIPTION_NAME).exists()
        before = written.get(row["key"], {}) if is_gone else {}
        kept = {name: before.get(name) for name in _RETRAINED if before.get("test_accuracy") is not None}
        front.append({**row, **kept, **_retrained(folder, row["key"], experiment)})
    if any("num_seeds" in row for row in front):
        front = [{**row, "num_seeds": row.get("num_seeds") or 0} for row in front]
    return front


def _retrained(folder: RunFolder, key: str, experiment: Experiment) -> dict[str, Any]:
    models = known_models(folder, key, experiment)
    if not models:
        return {}
    tests = [model["test_accuracy"] for model in models]
    return {
        "test_accuracy": round(statistics.fmean(tests), 4),
        "test_accuracy_std": round(statistics.stdev(tests), 4) if len(tests) > 1 else None,
        "num_seeds": len(tests),
        "model": str(folder.model(key, models[0].get("seed", 0))),
    }


def write_hypervolumes(path: Path, rows: Sequence[Row], names: Sequence[str], space: SearchSpace) -> None:
    """Write `hypervolume.csv`: a row for each candidate, with the hypervolume of all up to it."""
    volumes = hypervolume_by_evaluation(rows, names, space)
    table = [
        {"evaluation": number, "id": row["id"], "generation": row["generation"], "hypervolume": round(volume, 6)}
        for number, (row, volume) in enumerate(zip(latest_rows(rows), volumes, strict=True), start=1)
    ]
    write_table(path, table, ["evaluation", "id", "generation", "hypervolume"])


def write_summary(folder: RunFolder, pruning: Pruning, space: SearchSpace, base: Mapping[str, Any]) -> str:
    """Write `summary.csv` and `summary.md`, a row for the base network and each finished step; returns the table."""
    known = {"accuracy": base["validation_accuracy"], "test_accuracy": base["test_accuracy"]}
    rows = [_row(space, 0, space.full_code(), known, folder.base)]
    for step, description in enumerate(finished_steps(folder, pruning), start=1):
        code = space.parse_code(description["code"])
        rows.append(_row(space, step, code, description, step_folder(folder, pruning, step)))
    kept = [f"kept.{segment.name}" for segment in space.segments]
    columns = ["step", "rate", *ACCURACIES, *COST_NAMES, "file_bytes", "key", "model", *kept, "code"]
    write_table(folder.pruned(pruning.name) / "summary.csv", rows, columns)
    table = summary_table(rows)
    write_atomically(folder.pruned(pruning.name) / "summary.md", table + "\n")
    return table


def _row(space: SearchSpace, step: int, code: Code, known: Mapping[str, Any], model: Path) -> Row:
    return {
        "step": step,
        "rate": round(1 - int(code.sum()) / space.length, 6),
        **{name: known.get(name) for name in ACCURACIES},
        **code_costs(space, code),
        "file_bytes": (model / WEIGHTS_NAME).stat().st_size,
        "key": space.key(code),
        "model": str(model),
        **{f"kept.{name}": width for name, width in space.widths(code).items()},
        "code": space.format_code(code),
    }
