"""Codes of levels: each layer keeps one of a few shares of its weights. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evoprune.space.groups import Segment
from evoprune.space.space import Code, SearchSpace
from evoprune.space.traced_costs import BYTES_PER_VALUE

KEPT_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of a layer's weights, level by level: closer together where a step costs more."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PrunedLayer:
    """A layer whose single weights can go.

    Attributes:
        name: of the module.
        parameter: name of its weight in the network's state.
        size: number of its weights.
        uses: multiply-adds of one weight, for one image.
    """

    name: str
    parameter: str
    size: int
    uses: int


@dataclass(frozen=True)
class LevelSpace(SearchSpace):
    """All codes of levels. A layer's level is how many of its bits are 1; which ones they are makes no difference.

    Attributes:
        pruned: the layers, one for each segment.
        always: parameters, and multiply-adds, of all that is never pruned.
    """

    pruned: tuple[PrunedLayer, ...]
    always: tuple[int, int]

    def repair(self, code: npt.ArrayLike, scores: npt.NDArray[np.float64] | None = None) -> Code:
        """The code of the same levels whose ones come first in each segment; no level is 0."""
        levels = np.maximum(self.count(self.check(code)), 1)
        places = np.concatenate([np.arange(segment.width) for segment in self.segments])
        return (places < np.repeat(levels, [segment.width for segment in self.segments])).astype(np.uint8)

    def sparsities(self, code: npt.ArrayLike) -> dict[str, float]:
        """Layer name -> share of its weights that goes."""
        return {name: 1 - KEPT_SHARES[level - 1] for name, level in self.widths(code).items()}

    @cached_property
    def costs(self) -> "LevelCosts":
        """Costs of many codes."""
        return LevelCosts(self)


class LevelCosts:
    """Weights that are not zero, and what they take."""

    def __init__(self, space: LevelSpace):
        self._space = space
        shares = 1 - np.array(KEPT_SHARES)
        self._kept = np.array([layer.size - np.rint(shares * layer.size) for layer in space.pruned], dtype=np.int64)
        self._uses = np.array([layer.uses for layer in space.pruned], dtype=np.int64)

    def of(self, codes: Code) -> dict[str, Counts]:
        """`flops`, `params`, `bandwidth` of what is not zero, of codes of shape (N, length); each of shape (N,)."""
        levels = np.maximum(self._space.count(codes), 1).astype(np.int64)
        kept = self._kept[np.arange(len(self._kept)), levels - 1]
        params = kept.sum(axis=1) + self._space.always[0]
        flops = (kept * self._uses).sum(axis=1) + self._space.always[1]
        return {"flops": flops, "params": params, "bandwidth": BYTES_PER_VALUE * params}


def make_level_space(name: str, pruned: Sequence[PrunedLayer], always: tuple[int, int]) -> LevelSpace:
    """The space of the levels of some layers.

    Args:
        name: of the network.
        pruned: layers whose weights can go; at least one.
        always: parameters, and multiply-adds, of all that is never pruned.
    """
    width = len(KEPT_SHARES)
    segments = tuple(Segment(layer.name, width, place * width) for place, layer in enumerate(pruned))
    return LevelSpace(name, {}, segments, (), {}, tuple(pruned), always)
