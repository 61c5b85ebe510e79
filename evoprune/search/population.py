"""Whom NSGA-III keeps. The only module that imports pymoo."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from pymoo.algorithms.moo.nsga3 import HyperplaneNormalization, associate_to_niches, calc_niche_count, niching
from pymoo.config import Config
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions

from evoprune.common.errors import UserError


def reference_directions(num_objectives: int, num_individual: int) -> npt.NDArray[np.float64]:
    """The finest Das-Dennis grid with at most `num_individual` directions, shape (directions, objectives).

    Raises:
        UserError: fewer individuals than objectives.
    """
    if num_individual < num_objectives:
        raise UserError(
            f"search.num_individual: got {num_individual}; "
            f"NSGA-III needs one individual per objective at least, so {num_objectives}"
        )
    partitions = 1
    while math.comb(partitions + num_objectives, num_objectives - 1) <= num_individual:  # directions of one more
        partitions += 1
    directions: npt.NDArray[np.float64] = get_reference_directions(
        "das-dennis", num_objectives, n_partitions=partitions
    )
    return directions


class Population:
    """Codes with losses and violations, of which NSGA-III chooses the survivors.

    The steps are those of pymoo's `ReferenceDirectionSurvival`, by its own functions. Its objects for populations took
    most of the time, and a search that is continued tells all that it has measured again.

    Args:
        directions: shape (directions, objectives).
    """

    def __init__(self, directions: npt.NDArray[np.float64]):
        Config.warnings["not_compiled"] = False
        self._directions = directions
        self._norm = HyperplaneNormalization(directions.shape[1])
        self._is_front = False  # whether all members keep the limits, and none dominates another
        self.codes = np.zeros((0, 0), dtype=np.uint8)
        self.losses = np.zeros((0, directions.shape[1]))
        self.violations = np.zeros(0)

    def __len__(self) -> int:
        return len(self.losses)

    def add(
        self, codes: npt.NDArray[np.uint8], losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]
    ) -> None:
        """Add members; shapes (members, length), (members, objectives), (members,)."""
        self.codes = np.concatenate([self.codes, codes]) if len(self) else codes
        self.losses = np.concatenate([self.losses, losses])
        self.violations = np.concatenate([self.violations, violations])

    def cut(self, size: int, make_rng: Callable[[], np.random.Generator]) -> None:
        """Keep the best `size`; who breaks limits survives only where room is left, the least violation first.

        Args:
            size: of the population.
            make_rng: makes the source of chance, where it is needed.
        """
        if len(self) == size + 1 and self._is_front and self._last_is_worse():
            self._norm.worst_point = np.maximum(self._norm.worst_point, self.losses[self.violations <= 0].max(axis=0))
            self.codes, self.losses, self.violations = self.codes[:-1], self.losses[:-1], self.violations[:-1]
            return
        self._is_front = False
        feasible, others = np.flatnonzero(self.violations <= 0), np.flatnonzero(self.violations > 0)
        others = others[np.argsort(self.violations[others])]
        if len(feasible):
            feasible = feasible[self._survivors(self.losses[feasible], size, make_rng)]
        kept = np.concatenate([feasible, others[: max(0, size - len(feasible))]])
        self.codes, self.losses, self.violations = self.codes[kept], self.losses[kept], self.violations[kept]

    def _last_is_worse(self) -> bool:
        """Whether the last one breaks limits or is dominated, so that a front of the others stays what it is."""
        others, last = self.losses[:-1], self.losses[-1]
        return bool(self.violations[-1] > 0 or ((others <= last).all(axis=1) & (others < last).any(axis=1)).any())

    def _survivors(
        self, losses: npt.NDArray[np.float64], size: int, make_rng: Callable[[], np.random.Generator]
    ) -> npt.NDArray[np.int64]:
        """Indices of at most `size` rows: whole ranks, and of the last one those in the emptiest niches."""
        fronts = NonDominatedSorting().do(losses, n_stop_if_ranked=size)
        self._norm.update(losses, nds=fronts[0])
        self._is_front = len(fronts[0]) >= size
        order = np.concatenate(fronts)
        if len(order) <= size:
            return order
        niches, distances, _ = associate_to_niches(
            losses[order], self._directions, self._norm.ideal_point, self._norm.nadir_point
        )
        before = len(order) - len(fronts[-1])  # of the last rank only some survive
        count = calc_niche_count(len(self._directions), niches[:before])
        far = distances[before:]
        if len(order) == size + 1:
            return np.delete(order, before + left_out(niches[before:], far, count, make_rng))
        last = niching(fronts[-1], size - before, count, niches[before:], far, random_state=make_rng())
        return np.concatenate([order[:before], order[before:][last]])


def left_out(
    niches: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float64],
    count: npt.NDArray[np.int64],
    make_rng: Callable[[], Generator],
) -> int:
    """Which member of a rank does not survive where all others do; chosen as pymoo's `niching` does, but at once.

    That fills the emptiest niche first. So the last member is one of a niche that is the fullest in the end, and the
    nearest to its direction only where the niche has no other.

    Args:
        niches: of the members, shape (members,).
        distances: of the members to the directions of their niches, shape (members,).
        count: survivors of better ranks, shape (niches,).
        make_rng: makes the source of chance, where it is needed.
    """
    rng = cache(make_rng)  # mostly there is nothing to draw

    def draw(options: npt.NDArray[np.int64]) -> int:
        return int(options[0] if len(options) == 1 else rng().choice(options))

    members = np.bincount(niches, minlength=len(count))
    full = np.where(members > 0, count + members, 0)
    niche = draw(np.flatnonzero(full == full.max()))
    candidates = np.flatnonzero(niches == niche)
    if count[niche] == 0 and len(candidates) > 1:
        near = distances[candidates]
        candidates = np.delete(candidates, draw(np.flatnonzero(near == near.min())))
    return draw(candidates)
