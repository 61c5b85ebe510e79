"""Variation that knows segments and importance: first codes over the whole range of costs, then small steps."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evoprune.config import SearchConfig
from evoprune.space.costs import compute_costs
from evoprune.space.limits import Limits
from evoprune.space.ranking import Places, Scores, keep_first, mid_ranks, places_of
from evoprune.space.rounding import to_count
from evoprune.space.space import Code

_SMALLEST_STEP, _LARGEST_STEP = 0.02, 0.3  # of a segment's channels: from one of 64 to a clearly other width
_RATE_SPREAD = 0.1  # first codes: a group keeps about a tenth more or less than its share, so that widths differ
_UNIFORM_SHARE = 0.1  # codes that ignore the prior: with 0.25 fronts were worse, with 0 a wrong prior has no way out
_APART_SHARE = 0.1  # changes that separate tied segments, which is seldom worth the adapter
_NOISE = 0.05  # of ranks in (0, 1): channels one or two places apart may swap
_SLIDE_SPREAD = 0.08  # of the share by which a child slides: two in three change by less than this
_BISECTIONS = 20  # finer than one channel of any group
Values = npt.NDArray[np.float64]
Keys = npt.NDArray[np.float64]
"""One number for each channel of a segment: channels with the larger ones are kept rather than the others."""


class Evolution:
    """First codes at even steps of FLOPs; children by crossover of segments and a small mutation.

    Segments that an adapter ties change together, but for one child in ten: apart they cost the adapter.

    Crossover takes every segment whole from one of the two parents, as channels of a segment were judged together. A
    mutation is one of: a few channels pruned, taken back or exchanged in one to three groups; one to three single bits;
    all segments a little wider or narrower, which moves along the front. How many channels is drawn log-uniformly from
    2 % to 30 % of a segment, so that most steps are small.

    Where there is a prior, what is pruned tends to be the least important of the kept channels, and what comes back
    the most important of the pruned ones: importance ranks with normal noise decide. One code in ten ignores the prior
    from the first, and more and more do so as the search goes on: at the share `prior_fade` of it none looks any more.

    Args:
        limits: of the search, and its space; first codes keep those that need no measurement.
        config: `crossover_rate`, `min_keep`, `prior_fade`.
        scores: importance of every bit, shape (length,); None for no prior.
        flops_range: multiply-adds of the first codes, lowest and highest.
        offsets: how much more than the others each of `space.groups` keeps in the first codes, as a share of its
            channels, shape (groups,), from none of that in one code to all of it in another; by default all groups
            keep about the same share.
    """

    def __init__(
        self,
        limits: Limits,
        config: SearchConfig,
        scores: Scores | None,
        flops_range: tuple[float, float],
        offsets: npt.NDArray[np.float64] | None = None,
    ):
        space = limits.space
        self._space, self._limits, self._config, self._flops_range = space, limits, config, flops_range
        self._offsets = np.zeros(len(space.groups)) if offsets is None else offsets
        self._ranks = None if scores is None else mid_ranks(space, scores)
        self._groups = space.groups
        self._group_widths = np.array([group.width for group in space.groups])

    def first(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of shape (number, length), one in each of `number` equal ranges of FLOPs, in any order."""
        low, high = self._flops_range
        targets = low + (high - low) * (rng.permutation(number) + rng.random(number)) / number
        drawn = [self._shape(rng) for _ in targets]
        places, factors, offsets = (np.stack(part) for part in zip(*drawn, strict=True))
        return self._fitting(places, factors, offsets, targets)

    def propose(
        self, parents: npt.NDArray[np.uint8], progress: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Codes of shape (N, length), one for each pair of `parents`, shape (N, 2, length)."""
        strength = (1 - _UNIFORM_SHARE) * max(0.0, 1 - progress / self._config.prior_fade)
        return np.stack([self._child(first, second, strength, rng) for first, second in parents])

    def _shape(self, rng: np.random.Generator) -> tuple[Places, Values, Values]:
        """The order in which a code's channels are kept, and by what each group's keep rate differs from a common one.

        Returns:
            Places, shape (length,); factors and offsets, shape (groups,): a group keeps factor * (common + offset).
        """
        places = places_of(self._space, self._keys(1 - _UNIFORM_SHARE, rng))
        offsets = rng.random() * self._offsets
        return places, np.exp(rng.normal(0, _RATE_SPREAD, len(offsets))), offsets

    def _fitting(self, places: Places, factors: Values, offsets: Values, flops: Values) -> npt.NDArray[np.uint8]:
        """For each shape, a row of the arguments: the widest code within limits, of at most so many multiply-adds."""
        low, high = -offsets.max(axis=1), (1 / factors - offsets).max(axis=1)  # nothing of every group, and all of it
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            codes = self._at_rates(factors * (middle[:, None] + offsets), places)
            fits = (compute_costs(self._space, codes)["flops"] <= flops) & ~self._limits.exceeded_by(codes)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return self._at_rates(factors * (low[:, None] + offsets), places)

    def _at_rates(self, rates: Values, places: Places) -> npt.NDArray[np.uint8]:
        """Codes that keep the share `rates[:, group]` of each group's channels, the first `places`; a row for each."""
        return keep_first(self._space, places, np.round(rates * self._group_widths))

    def _child(self, first: Code, second: Code, strength: float, rng: np.random.Generator) -> Code:
        child = first.copy()
        if rng.random() < self._config.crossover_rate:
            self._cross(child, second, rng)
        mutation: Callable[[Code, Keys, np.random.Generator], None] = rng.choice(
            np.array([self._step, self._flip, self._slide], dtype=object), p=[0.7, 0.1, 0.2]
        )
        mutation(child, self._keys(strength, rng), rng)
        return child

    def _keys(self, strength: float, rng: np.random.Generator) -> Keys:
        """Importance ranks with noise, or, with probability 1 - `strength`, noise alone; shape (length,)."""
        noise = rng.normal(0, 1, self._space.length)
        if self._ranks is None or rng.random() >= strength:
            return noise
        return self._ranks + _NOISE * noise

    def _cross(self, child: Code, second: Code, rng: np.random.Generator) -> None:
        for group in self._groups:
            if rng.random() < 0.5:
                for place in group.slices:
                    child[place] = second[place]

    def _step(self, child: Code, keys: Keys, rng: np.random.Generator) -> None:
        """Prune, take back or exchange a few channels in one to three groups."""
        for index in rng.choice(len(self._groups), min(int(rng.integers(1, 4)), len(self._groups)), replace=False):
            places = self._groups[index].slices
            if rng.random() < _APART_SHARE:
                places = (places[rng.integers(len(places))],)
            bits = _resize(child[places[0]], keys[places[0]], rng)
            for place in places:
                child[place] = bits

    def _flip(self, child: Code, keys: Keys, rng: np.random.Generator) -> None:
        """Turn one to three single bits, as far as there are so many."""
        for bit in rng.choice(len(child), min(int(rng.integers(1, 4)), len(child)), replace=False):
            child[bit] ^= 1

    def _slide(self, child: Code, keys: Keys, rng: np.random.Generator) -> None:
        """Make all groups wider or narrower by about the same share of their channels."""
        change = rng.normal(0, _SLIDE_SPREAD)
        for group in self._groups:
            bits = group.of(child)
            wanted = round(int(bits.sum()) * (1 + change) + rng.uniform(-0.5, 0.5))
            count = min(max(wanted, 1), len(bits))
            group.put(child, to_count(bits, group.of(keys), count))


def _resize(bits: Code, keys: Keys, rng: np.random.Generator) -> Code:
    """Prune, take back or exchange some channels of one segment, shape (width,); never empties it."""
    share = np.exp(rng.uniform(np.log(_SMALLEST_STEP), np.log(_LARGEST_STEP)))
    step, kept = max(1, round(share * len(bits))), int(bits.sum())
    match rng.choice(["prune", "take back", "exchange"]):
        case "prune":
            return to_count(bits, keys, max(1, kept - step))
        case "take back":
            return to_count(bits, keys, min(len(bits), kept + step))
        case _:
            fewer = to_count(bits, keys, max(0, kept - min(step, len(bits) - kept)))
            return to_count(fewer, np.where(bits == 1, -np.inf, keys), kept)
