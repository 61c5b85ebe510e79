"""Dominance, hypervolume and picks from a front. numpy and moocore only; all losses are minimised."""

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Losses = npt.NDArray[np.float64]
MOST_KNEES = 3


def non_dominated(losses: Losses) -> npt.NDArray[np.bool_]:
    """Mask of the rows of `losses`, shape (N, objectives), that no other row dominates; equal rows stay together."""
    if len(losses) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=bool)


def pareto_ranks(losses: Losses) -> npt.NDArray[np.int64]:
    """Rank of each row of `losses`, shape (N, objectives): 0 for the non-dominated, 1 for those without them, ..."""
    rank = np.full(len(losses), -1)
    while (left := np.flatnonzero(rank < 0)).size:
        rank[left[non_dominated(losses[left])]] = rank.max() + 1
    return rank


def crowding(losses: Losses) -> Losses:
    """Crowding distance of each row, shape (N,): how far apart its neighbours are (Deb et al. 2002); ends have inf."""
    distance = np.zeros(len(losses))
    for column in _scale(losses).T if len(losses) else ():
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += column[order[2:]] - column[order[:-2]]
    return distance


def hypervolume(losses: Losses, reference: Losses) -> float:
    """Volume that `losses` dominate below `reference`, shape (objectives,)."""
    inside = losses[(losses < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def spread(losses: Losses, count: int) -> list[int]:
    """Indices of `count` points at even steps along the front, ordered by the last objective; both ends included.

    Steps are measured in objectives scaled to [0, 1] over the front, so that a crowded stretch does not get them all.
    """
    if len(losses) == 0:
        return []
    order = np.lexsort(losses.T)
    steps = np.abs(np.diff(_scale(losses)[order], axis=0)).sum(axis=1)
    along = np.concatenate(([0.0], np.cumsum(steps)))
    picked: list[int] = []
    for target in np.linspace(0, along[-1], min(count, len(order))):
        nearest = np.argsort(np.abs(along - target), kind="stable")
        picked.append(next(int(index) for index in nearest if index not in picked))
    return [int(order[index]) for index in picked]


def _scale(losses: Losses) -> Losses:
    """Each objective scaled to [0, 1] over the rows."""
    span = np.ptp(losses, axis=0)
    return (losses - losses.min(axis=0)) / np.where(span > 0, span, 1)


def knees(losses: Losses, count: int = MOST_KNEES) -> list[int]:
    """Indices of at most `count` knees: points where a gain in one objective costs most in the others.

    The first one is the knee of the whole front: in objectives scaled to [0, 1] over the front, the farthest from the
    plane through its ends (Das 1999), so that a dent of a noisy front is none. The others are the sharpest bends. The
    trade-off of a point against a neighbour is what is lost by moving there over what is gained; a point's worth is
    its smallest trade-off over its nearest neighbours (Rachmawati and Srinivasan 2009).
    """
    if len(losses) <= 2:  # neither is a bend; the one that is best in the first objective comes first
        return [int(index) for index in np.lexsort(losses.T[::-1])][:count]
    scaled = _scale(losses)
    first = int(scaled.sum(axis=1).argmin())
    worth = [np.inf if index == first else _smallest_trade_off(scaled, index) for index in range(len(scaled))]
    return sorted(range(len(scaled)), key=lambda index: (index != first, -worth[index]))[:count]


def _smallest_trade_off(scaled: Losses, index: int) -> float:
    distances = np.linalg.norm(scaled - scaled[index], axis=1)
    neighbours: Sequence[int] = [int(i) for i in np.argsort(distances, kind="stable") if i != index][
        : 2 * scaled.shape[1]
    ]
    trade_offs = []
    for other in neighbours:
        change = scaled[other] - scaled[index]
        gained = -change[change < 0].sum()
        trade_offs.append(change[change > 0].sum() / gained if gained > 0 else np.inf)
    return float(min(trade_offs))
