"""Which networks of the front `retrain.select` names."""

from collections.abc import Mapping, Sequence

import numpy as np

from evoprune.common.errors import UserError, suggest
from evoprune.common.objectives import OBJECTIVES, Row, to_losses
from evoprune.config import CountSelection, Experiment, MaxSelection
from evoprune.report.latencies import base_latency_ms
from evoprune.search.front import front_rows
from evoprune.search.pareto import MOST_KNEES, Losses, knees, spread
from evoprune.space.costs import code_costs
from evoprune.space.limits import absolute_bound
from evoprune.space.rounding import smallest_code
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context


def num_selected(experiment: Experiment) -> int:
    """About how many networks, at most; of `all`, a third of the candidates.

    The fronts of the runs in `results/` have a quarter to a half of theirs, of long runs and of short ones.
    """
    select = experiment.retrain.select
    if isinstance(select, CountSelection):
        return select.count
    if isinstance(select, MaxSelection):
        return sum(map(len, select.max.values()))
    if select == "knees":
        return MOST_KNEES
    return -(-experiment.num_evaluations // 3) if select == "all" else len(select)


def check_selection(experiment: Experiment, space: SearchSpace) -> None:
    """Raise UserError where `retrain.select` bounds what no row will have, or no network can keep."""
    select = experiment.retrain.select
    if not isinstance(select, MaxSelection):
        return
    if "latency" in select.max and not experiment.measures_latency:
        raise _unmeasured("latency")
    search, full = experiment.search, code_costs(space, space.full_code())
    smallest = code_costs(space, smallest_code(space, search.round_to))
    for name in set(smallest) & set(select.max):
        least = min(select.max[name], key=lambda value: absolute_bound(value, full[name], np.inf))
        low = search.limits[name].min if name in search.limits else None
        lowest = max(smallest[name], absolute_bound(low, full[name], -np.inf))
        if absolute_bound(least, full[name], np.inf) < lowest:
            raise UserError(
                f"retrain.select.max.{name}: got {least}, but the smallest network of {space.name} that the search may "
                f"find has {lowest:,.10g} {OBJECTIVES[name].unit}; give that many at least"
            )


def selected_rows(context: Context, rows: Sequence[Row]) -> list[Row]:
    """Of the measured rows of a run those that are on the front and that `retrain.select` names.

    Raises:
        UserError: a key that is not on the front, or a bound that no network of it keeps.
    """
    experiment = context.experiment
    base: dict[str, float] = {}
    if isinstance(experiment.retrain.select, MaxSelection):
        base = {**code_costs(context.space, context.space.full_code())}
        latency_ms = base_latency_ms(context.folder)
        base |= {} if latency_ms is None else {"latency": latency_ms}
    return select_rows(front_rows(rows, experiment.search.objectives), experiment, base)


def select_rows(front: Sequence[Row], experiment: Experiment, base: Mapping[str, float]) -> list[Row]:
    """The rows of the front that `retrain.select` names.

    Args:
        front: its rows, as `reports.csv` has them.
        experiment: its objectives, and `retrain.select`.
        base: costs of the base network by name, of which `max` may have shares.

    Raises:
        UserError: a key that is not on the front, or a bound that no network of it keeps.
    """
    select = experiment.retrain.select
    losses = to_losses(front, experiment.search.objectives)
    if select == "all":
        return list(front)
    if select == "knees":
        return [front[index] for index in knees(losses)]
    if isinstance(select, CountSelection):
        return [front[index] for index in _spread_or_knee(losses, select.count)]
    if isinstance(select, MaxSelection):
        return _best_below_each(front, select, base) if front else []
    by_key = {row["key"]: row for row in front}
    for key in select:
        if key not in by_key:
            raise UserError(f"retrain.select: {key} is not on the front; {suggest(key, by_key)}")
    return [by_key[key] for key in select]


def _spread_or_knee(losses: Losses, count: int) -> list[int]:
    """A single network is the knee: an end of the front is the worst in some objective."""
    return knees(losses, 1) if count == 1 else spread(losses, count)


def _best_below_each(front: Sequence[Row], select: MaxSelection, base: Mapping[str, float]) -> list[Row]:
    found = [_best_below(front, name, value, base) for name, values in select.max.items() for value in values]
    return list({row["key"]: row for row in found}.values())


def _best_below(front: Sequence[Row], name: str, value: float | str, base: Mapping[str, float]) -> Row:
    """The most accurate row whose cost is at most `value`."""
    key = f"retrain.select.max.{name}"
    if any(row.get(name) is None for row in front):
        raise _unmeasured(name)
    if isinstance(value, str) and name not in base:
        raise UserError(f"{key}: got {value}, a share of what is not known of the base network; give a number")
    highest = absolute_bound(value, base.get(name), np.inf)
    below = [row for row in front if row[name] <= highest]
    if not below:
        unit, least = OBJECTIVES[name].unit, min(row[name] for row in front)
        raise UserError(
            f"{key}: no network of the front has at most {highest:,.7g} {unit}; the smallest has {least:,.7g}"
        )
    return max(below, key=lambda row: (row["accuracy"], -row[name]))


def _unmeasured(cost: str) -> UserError:
    return UserError(
        f"retrain.select.max.{cost}: the search does not measure {cost}; bound another cost, or make it an objective"
    )
