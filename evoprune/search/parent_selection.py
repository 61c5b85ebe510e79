"""Which members of a population have children. numpy only."""

import numpy as np
import numpy.typing as npt

from evoprune.search.pareto import Losses, crowding, non_dominated

Pairs = npt.NDArray[np.int64]
_FROM_GAPS = 0.5


def choose_parents(losses: Losses, violations: npt.NDArray[np.float64], number: int, rng: np.random.Generator) -> Pairs:
    """Pairs of indices into a population, shape (number, 2).

    Parents win binary tournaments, in which less violation of the limits wins, as in NSGA-III (Jain and Deb 2014). But
    half of the first parents come from the front, each the more likely the farther apart its neighbours there are: a
    small step from them falls where the front is thin.

    Args:
        losses: of the population, shape (members, objectives).
        violations: shape (members,); 0 for who keeps the limits.
        number: of pairs.
        rng: the only source of chance.
    """
    pairs = _tournaments(violations, (number, 2), rng)
    front = np.flatnonzero(violations == 0)
    front = front[non_dominated(losses[front])]
    if len(front):
        from_gaps = rng.random(number) < _FROM_GAPS
        pairs[from_gaps, 0] = rng.choice(front, int(from_gaps.sum()), p=_gaps(losses[front]))
    return pairs


def _tournaments(violations: npt.NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator) -> Pairs:
    rivals = rng.integers(len(violations), size=(2, *shape))
    second_wins = violations[rivals[1]] < violations[rivals[0]]
    return np.where(second_wins, rivals[1], rivals[0])


def _gaps(losses: Losses) -> npt.NDArray[np.float64]:
    """Crowding distances that sum to 1; an end of the front counts as much as its widest gap."""
    distance = crowding(losses)
    finite = distance[np.isfinite(distance)]
    distance[np.isinf(distance)] = finite.max(initial=0.0)
    total = distance.sum()
    return distance / total if total > 0 else np.full(len(losses), 1 / len(losses))
