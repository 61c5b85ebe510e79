"""Sparsities of layers that begin with one ranking of all weights."""

import numpy as np
import numpy.typing as npt

from evoprune.config import SearchConfig
from evoprune.search.proposals.evolution import Evolution
from evoprune.space.costs import code_costs
from evoprune.space.limits import Limits
from evoprune.space.ranking import Scores
from evoprune.space.space import Code, SearchSpace

_SPREAD = 0.3  # of the logarithm of a layer's magnitudes: two in three layers move by less than a third


class Thresholds(Evolution):
    """First codes in even ranges of the logarithm of non-zero parameters; children as `Evolution` has them.

    Every second first code is what one threshold for all weights gives. In the others each layer has a threshold of
    its own, around a common one.

    Args:
        space: codes of levels.
        config: `crossover_rate`.
        magnitudes: of every bit the absolute value of the smallest weight that stays with it, shape (space.length,).
    """

    def __init__(self, space: SearchSpace, config: SearchConfig, magnitudes: Scores):
        super().__init__(Limits(space, {}), config, None, (0.0, 0.0))
        self._logs = np.log(np.maximum(magnitudes, np.finfo(np.float64).tiny))

    def first(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of shape (number, length)."""
        space = self._space
        low, high = (code_costs(space, code)["params"] for code in (space.smallest_code(), space.full_code()))
        steps = (np.arange(number) + rng.random(number)) / number
        codes = []
        for place, most in enumerate(low * (high / low) ** steps):
            shifts = rng.normal(0, _SPREAD, len(space.segments)) * (place % 2)
            widths = [segment.width for segment in space.segments]
            codes.append(self._largest(self._logs + np.repeat(shifts, widths), float(most)))
        return np.stack(codes)

    def _largest(self, keys: npt.NDArray[np.float64], most: float) -> Code:
        """The code of the largest keys that has at most `most` parameters, or the smallest code."""
        thresholds = np.sort(keys)
        low, high = 0, len(thresholds)  # the smallest place whose code fits
        while low < high:
            middle = (low + high) // 2
            fits = code_costs(self._space, keys >= thresholds[middle])["params"] <= most
            low, high = (low, middle) if fits else (middle + 1, high)
        return self._space.repair(keys >= thresholds[low] if low < len(thresholds) else np.zeros(len(keys)))
