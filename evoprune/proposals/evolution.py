"""Small steps from good codes: crossover of whole segments, mutation of a few channels."""

import numpy as np
import numpy.typing as npt

from evoprune.space import Code, SearchSpace

_SMALLEST_STEP = 0.02
_LARGEST_STEP = 0.3


class Evolution:
    """Segment-wise crossover and small-step mutation.

    Crossover takes every segment whole from one of the two parents, as channels of a segment were judged together.
    Mutation picks one to three segments and cuts, adds or exchanges a share of their channels; the share is drawn
    log-uniformly from 2 % to 30 %, so most steps are small and a few are large.
    """

    def __init__(self, space: SearchSpace, crossover_rate: float):
        self._space, self._crossover_rate = space, crossover_rate

    def propose(self, parents: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of shape (N, length), one for each pair of `parents`, shape (N, 2, length)."""
        return np.stack([self._child(first, second, rng) for first, second in parents])

    def _child(self, first: Code, second: Code, rng: np.random.Generator) -> Code:
        child = first.copy()
        if rng.random() < self._crossover_rate:
            child = self._cross(first, second, rng)
        for index in rng.choice(len(self._space.segments), self._num_mutated(rng), replace=False):
            bits = child[self._space.segments[index].slice]
            bits[:] = _step(bits, rng)
        return child

    def _num_mutated(self, rng: np.random.Generator) -> int:
        return min(int(rng.integers(1, 4)), len(self._space.segments))

    def _cross(self, first: Code, second: Code, rng: np.random.Generator) -> Code:
        child = first.copy()
        for segment in self._space.segments:
            if rng.random() < 0.5:
                child[segment.slice] = second[segment.slice]
        return child


def _step(bits: Code, rng: np.random.Generator) -> Code:
    """Cut, add or exchange some channels of one segment, shape (width,); never empties it."""
    share = np.exp(rng.uniform(np.log(_SMALLEST_STEP), np.log(_LARGEST_STEP)))
    count = max(1, round(share * len(bits)))
    kept, cut = np.flatnonzero(bits), np.flatnonzero(bits == 0)
    move = rng.choice(["cut", "add", "exchange"])
    out = bits.copy()
    if move != "add":
        most = len(kept) - 1 if move == "cut" else min(len(kept), len(cut))
        out[rng.choice(kept, min(count, most), replace=False)] = 0
    if move != "cut":
        most = len(cut) if move == "add" else min(len(kept), len(cut))
        out[rng.choice(cut, min(count, most), replace=False)] = 1
    return out
