"""Where new codes come from. A proposal is one file here and one line in `PROPOSALS`."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evoprune.config import SearchConfig
from evoprune.proposals.evolution import Evolution
from evoprune.proposals.random import Random
from evoprune.space import SearchSpace

__all__ = ["PROPOSALS", "Evolution", "Proposal", "Random", "make_proposal"]


class Proposal(Protocol):
    """Makes new codes from old ones."""

    def propose(self, parents: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """One new code for each pair of parents.

        Args:
            parents: shape (N, 2, length).
            rng: the only source of chance.

        Returns:
            Codes, shape (N, length); they need not be repaired, new, or within limits.
        """
        ...


PROPOSALS: dict[str, Callable[[SearchSpace, SearchConfig], Proposal]] = {
    "evolution": lambda space, config: Evolution(space, config.crossover_rate),
    "random": lambda space, config: Random(space, config.min_keep),
}


def make_proposal(name: str, space: SearchSpace, config: SearchConfig) -> Proposal:
    """Build the proposal that an experiment names."""
    return PROPOSALS[name](space, config)
