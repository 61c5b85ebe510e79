"""From rows to the front, its hypervolume, and losses."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evoprune.common.errors import UserError
from evoprune.common.objectives import FAILED, INFEASIBLE, LOST, OBJECTIVES, OK, Row, to_losses
from evoprune.search.pareto import hypervolume, non_dominated
from evoprune.space.costs import code_costs
from evoprune.space.limits import Limits
from evoprune.space.space import SearchSpace


def losses_and_violations(
    rows: Sequence[Row], objectives: Sequence[str], limits: Limits
) -> tuple[np.ndarray, np.ndarray]:
    """Losses, shape (rows, objectives), NaN for a candidate that failed or was lost; violations, shape (rows,)."""
    nothing = {name: np.nan for name in objectives}
    failed = [row["status"] in (FAILED, LOST) for row in rows]
    losses = to_losses([nothing if bad else row for row, bad in zip(rows, failed, strict=True)], objectives)
    violations = [0.0 if bad else limits.violation(row) for row, bad in zip(rows, failed, strict=True)]
    return losses, np.array(violations)


def latest_rows(rows: Iterable[Row]) -> list[Row]:
    """Each candidate's row of its highest rung: what is known best of it."""
    latest: dict[int, Row] = {}
    for row in rows:
        if row["id"] not in latest or row["rung"] > latest[row["id"]]["rung"]:
            latest[row["id"]] = row
    return list(latest.values())


def full_row(rows: Iterable[Row]) -> Row | None:
    """The measurement of the base network, the uncut one; None where it is not there or failed.

    That it breaks a limit, as of half of its own multiply-adds, says nothing against what was measured of it.
    """
    measured = (OK, INFEASIBLE)
    return next((row for row in latest_rows(rows) if row["proposal"] == "full" and row["status"] in measured), None)


def num_candidates(rows: Iterable[Row]) -> int:
    """How many candidates `rows` hold."""
    return len({row["id"] for row in rows})


def front_rows(rows: Iterable[Row], objectives: Sequence[str]) -> list[Row]:
    """The non-dominated candidates of status `ok`, cheapest first, by the last of the costs among the objectives."""
    front = _non_dominated_rows(_good(rows), objectives)
    order = to_losses(front, sorted(reversed(objectives), key=lambda name: OBJECTIVES[name].maximise))
    return [front[i] for i in sorted(range(len(front)), key=lambda i: tuple(order[i]))]


def fronts_by_generation(rows: Iterable[Row], objectives: Sequence[str]) -> list[list[Row]]:
    """The front of all candidates up to each generation, from generation 0 to the last one."""
    latest = latest_rows(rows)
    new: list[list[Row]] = [[] for _ in range(max((row["generation"] for row in latest), default=-1) + 1)]
    for row in _good(latest):
        new[row["generation"]].append(row)
    fronts: list[list[Row]] = []
    for candidates in new:  # what was dominated once stays so: only the last front meets the new candidates
        fronts.append(_non_dominated_rows([*(fronts[-1] if fronts else []), *candidates], objectives))
    return fronts


def _good(rows: Iterable[Row]) -> list[Row]:
    return [row for row in latest_rows(rows) if row["status"] == OK]


def _non_dominated_rows(rows: Sequence[Row], objectives: Sequence[str]) -> list[Row]:
    return [row for row, keep in zip(rows, non_dominated(to_losses(rows, objectives)), strict=True) if keep]


def hypervolumes(rows: Sequence[Row], names: Sequence[str], space: SearchSpace) -> list[float]:
    """As `hypervolume_by_evaluation`, of all candidates up to each generation."""
    candidates = latest_rows(rows)
    base = _reference(candidates, space)
    fronts = fronts_by_generation(candidates, names)
    return [hypervolume(_scaled(front, names, base), np.ones(len(names))) for front in fronts]


def hypervolume_by_evaluation(rows: Sequence[Row], names: Sequence[str], space: SearchSpace) -> list[float]:
    """Hypervolume after each evaluation, in [0, 1]: how much of the space of the objectives the front dominates.

    Losses are scaled so that 1 is the reference: an accuracy of 0 %, and the cost of the full network (of the slowest
    one where latency was measured and the full network's is not there).

    Args:
        rows: of `reports.csv`, as dicts: `pandas.read_csv(path).to_dict("records")` makes them.
        names: objectives, such as `["accuracy", "flops"]`.
        space: the search space.

    Returns:
        One number for each candidate, in the order of their first rows; of several rungs the highest counts.

    Raises:
        UserError: no names, or one that is no objective, or that the rows do not have; or rows that are no dicts.
    """
    wrong = [type(row).__name__ for row in rows if not isinstance(row, Mapping)]
    if wrong:
        raise UserError(f"rows are dicts; got {wrong[0]}; of a pandas table take table.to_dict('records')")
    if not names or set(names) - set(OBJECTIVES):
        raise UserError(f"names are some of {', '.join(OBJECTIVES)}; got {list(names)!r}")
    for name in names:
        if any(name not in row for row in rows):
            raise UserError(f"names are columns of the rows; got {name}, which they do not have: take another")
    candidates = latest_rows(rows)
    base, ones = _reference(candidates, space), np.ones(len(names))
    front, volumes = np.zeros((0, len(names))), [0.0]
    for row in candidates:
        losses = _scaled([row], names, base) if row["status"] == OK else front[:0]
        if np.isfinite(losses).all() and len(losses) and not (front <= losses).all(axis=1).any():
            front = np.concatenate([front, losses])
            front = front[non_dominated(front)]
            volumes.append(hypervolume(front, ones))
        else:
            volumes.append(volumes[-1])
    return volumes[1:]


def _reference(candidates: Sequence[Row], space: SearchSpace) -> dict[str, float]:
    """What costs are divided by."""
    full = _latency_ms(full_row(candidates) or {})
    slowest = max(map(_latency_ms, candidates), default=0.0)
    return {**code_costs(space, space.full_code()), "latency": full or slowest}


def _latency_ms(row: Row) -> float:
    """0 where it was not measured, for which pandas has a NaN."""
    latency = row.get("latency")
    return float(latency) if latency is not None and np.isfinite(latency) else 0.0


def _scaled(rows: Sequence[Row], names: Sequence[str], base: Mapping[str, float]) -> np.ndarray:
    columns = []
    for name in names:
        values = np.array([row[name] for row in rows], dtype=float)
        columns.append(1 - values / 100 if OBJECTIVES[name].maximise else values / (base[name] or 1))
    return np.stack(columns, axis=1) if rows else np.zeros((0, len(names)))
