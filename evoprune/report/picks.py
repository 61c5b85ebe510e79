"""Which rows of a result, and which groups of a network, tables and pictures point out."""

from collections.abc import Sequence

import numpy as np

from evoprune.common.objectives import Row, to_losses
from evoprune.config import Experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.search.pareto import knees, non_dominated, spread

_MOST_SHOWN = 12
ALONE_POINTS, ALONE_RATE = 1.0, 0.1


def shown_rows(front: Sequence[Row], experiment: Experiment) -> list[Row]:
    """The networks of a front that a result is told of, the dearest first.

    They are all where all are to be trained, those that are trained where some are, and a few otherwise.
    """
    if experiment.retrain.select == "all":
        return list(reversed(front))
    trained = [row for row in reversed(front) if row.get("test_accuracy") is not None]
    return trained or few_rows(front, experiment.search.objectives)


def few_rows(front: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """At most 12 networks of a front, spread over it, the dearest first."""
    return [front[index] for index in sorted(spread(to_losses(front, names), _MOST_SHOWN), reverse=True)]


def fragile_groups(curves: Curves) -> list[str]:
    """Groups to leave alone: with a tenth of their channels gone they cost more than a point of accuracy."""
    names = []
    for group, rates, losses in zip(curves.space.groups, curves.rates, curves.losses, strict=True):
        finite = np.isfinite(losses)
        if np.interp(ALONE_RATE, rates[finite], losses[finite]) > ALONE_POINTS:
            names.append(group.name)
    return names


def alone_line(curves: Curves) -> str:
    """Which groups to leave alone, in a line."""
    names = ", ".join(fragile_groups(curves)) or "none"
    return f"leave alone, as {ALONE_RATE:.0%} of the channels cost more than {ALONE_POINTS:g} point: {names}"


def with_accuracy(rows: Sequence[Row]) -> list[Row]:
    """The rows whose accuracy could be measured: the outputs of others were not finite."""
    return [row for row in rows if row["accuracy"] is not None]


def knee_of(rows: Sequence[Row]) -> Row:
    """The row after which accuracy falls: the knee of those that no row beats in both accuracy and sparsity.

    Rows without an accuracy are left out.
    """
    rows = with_accuracy(rows)
    losses = np.array([[-row["accuracy"], -row["sparsity"]] for row in rows])
    front = np.flatnonzero(non_dominated(losses))
    return rows[front[knees(losses[front], 1)[0]]]
