"""Dominance, hypervolume and picks from a front. numpy and moocore only; all losses are minimised."""

import moocore
import numpy as np
import numpy.typing as npt

Losses = npt.NDArray[np.float64]
MOST_KNEES = 3
_STRAIGHT = 1e-9


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
    """Indices of at most `count` knees: points where a gain in one objective begins to cost much in another.

    The first one is the knee of the whole front: in objectives scaled to [0, 1] over the front, the farthest from the
    plane through its ends (Das 1999), so that a dent of a noisy front is none. The next ones are the knees of the two
    parts into which it divides the front, each scaled to itself, and so on. A front of one or two points has no bend:
    there all are, the best one in the first objective first. Of a longer one without a bend that one stands alone.
    """
    best_first = [int(index) for index in np.lexsort(losses.T[::-1])]
    if len(losses) <= 2:
        return best_first[:count]
    found: list[int] = []
    parts = [np.lexsort(losses.T)]
    while parts and len(found) < count:
        part = parts.pop(0)
        bend = _bend(losses[part])
        if bend is not None:
            found.append(int(part[bend]))
            parts += [part[: bend + 1], part[bend:]]
    return found or best_first[:1]


def _bend(losses: Losses) -> int | None:
    """The place of the knee of a part of a front, in order; None where it is straight, or bends the other way."""
    distances = _scale(losses).sum(axis=1)
    lowest = int(distances.argmin())
    return lowest if distances[lowest] < min(distances[0], distances[-1]) - _STRAIGHT else None
