"""Random codes that cover the whole range of sizes: the control of every other proposal."""

import numpy as np
import numpy.typing as npt

from evoprune.space.space import SearchSpace

_SEGMENT_SPREAD = 0.1


class Random:
    """Draws a keep ratio for each code, uniform in [min_keep, 1], and one near it for each segment.

    Fair coin flips would give codes that all keep half of the channels; these spread over the cost axis.
    """

    def __init__(self, space: SearchSpace, min_keep: float):
        self._space, self._min_keep = space, min_keep

    def first(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of shape (number, length)."""
        return np.stack([self._draw(rng) for _ in range(number)])

    def propose(
        self, parents: npt.NDArray[np.uint8], progress: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Codes of shape (N, length) for `parents` of shape (N, 2, length), of which only N matters."""
        return self.first(len(parents), rng)

    def _draw(self, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        ratio = rng.uniform(self._min_keep, 1.0)
        code = np.zeros(self._space.length, dtype=np.uint8)
        for segment in self._space.segments:
            share = np.clip(ratio + rng.normal(0, _SEGMENT_SPREAD), self._min_keep / 2, 1.0)
            count = max(1, round(share * segment.width))
            code[segment.start + rng.choice(segment.width, count, replace=False)] = 1
        return code
