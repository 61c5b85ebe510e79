"""Codes that one importance and one rate decide: what a pruner without a search would return."""

import numpy as np
import numpy.typing as npt

from evoprune.space.ranking import Ranking, Scores
from evoprune.space.space import SearchSpace


class Ranked:
    """Prunes the least important channels, at a rate drawn uniformly from a range.

    Args:
        space: the search space.
        scores: importance of every bit, shape (space.length,).
        ranking: how a rate becomes a code.
        rates: lowest and highest share of the channels to prune.
    """

    def __init__(self, space: SearchSpace, scores: Scores, ranking: Ranking, rates: tuple[float, float]):
        self._space, self._scores, self._ranking, self._rates = space, scores, ranking, rates

    def first(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of shape (number, length)."""
        rates = rng.uniform(*self._rates, number)
        return np.stack([self._ranking(self._space, self._scores, float(rate)) for rate in rates])

    def propose(
        self, parents: npt.NDArray[np.uint8], progress: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Codes of shape (N, length) for `parents` of shape (N, 2, length), of which only N matters."""
        return self.first(len(parents), rng)
