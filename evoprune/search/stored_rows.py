"""Whether rows that were stored are such as a search can have written: nothing on a disk is trusted."""

import math
from collections.abc import Iterable
from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.common.objectives import FAILED, INFEASIBLE, LOST, OK, Row
from evoprune.config import Experiment
from evoprune.space.space import SearchSpace

_WHOLE = ("id", "generation", "rung", "flops", "params", "bandwidth")
_OTHERS = ("proposal", "status", "key", "code", "epochs", "seconds", "worker", "error")


def check_rows(rows: Iterable[Row], experiment: Experiment, space: SearchSpace, path: Path) -> None:
    """Check every row: its columns and cells, that its numbers are in the search, that its key is that of its code.

    Args:
        rows: of `reports.csv`.
        experiment: whose search it is.
        space: the search space.
        path: names the table in errors.

    Raises:
        UserError: with the line, and what is wrong in it.
    """
    for line, row in enumerate(rows, start=2):
        wrong = _wrong(row, experiment, space)
        if wrong is not None:
            raise UserError(
                f"{path}: line {line}: {wrong}; no search of this experiment has written that: repair or delete the "
                "line, or start afresh with another --out"
            )


def _wrong(row: Row, experiment: Experiment, space: SearchSpace) -> str | None:
    """What is wrong in a row; None for nothing."""
    measured = ("accuracy", "latency")[: 1 + experiment.measures_latency]
    columns = (*_WHOLE, *_OTHERS, *measured, *(f"kept.{segment.name}" for segment in space.segments))
    missing = [name for name in columns if name not in row]
    if missing:
        return f"there is no column {missing[0]}"
    if row["status"] not in (OK, INFEASIBLE, FAILED, LOST):
        return f"status is {row['status']!r}"
    needed = [*_WHOLE, *(measured if row["status"] in (OK, INFEASIBLE) else ())]
    for name in needed:
        if row[name] is None or not math.isfinite(row[name]):
            return f"{name} is {'empty' if row[name] is None else row[name]}"
    return _outside(row, experiment) or _wrong_code(row, space)


def _outside(row: Row, experiment: Experiment) -> str | None:
    bounds = {
        "id": experiment.num_evaluations,
        "generation": experiment.search.generations + 1,
        "rung": len(experiment.evaluation.fidelities),
    }
    for name, bound in bounds.items():
        if not 0 <= row[name] < bound:
            return f"{name} is {row[name]}, and the search has {bound} of them"
    return None


def _wrong_code(row: Row, space: SearchSpace) -> str | None:
    try:
        key = space.key(space.parse_code(row["code"] or ""))
    except UserError as error:
        return str(error)
    return None if row["key"] == key else f"key is {row['key']}, but that of its code is {key}"
