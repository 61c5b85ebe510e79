"""The interface of a proposal, and of one that learns."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


class Proposal(Protocol):
    """Makes new codes, the first ones from nothing, later ones from old ones.

    Codes need not be repaired, new, or within limits.
    """

    def first(self, number: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Codes of a first generation, over the whole range of sizes, shape (number, length)."""
        ...

    def propose(
        self, parents: npt.NDArray[np.uint8], progress: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """One new code for each pair of parents.

        Args:
            parents: shape (N, 2, length).
            progress: share of the search that is done, in [0, 1].
            rng: the only source of chance.

        Returns:
            Codes, shape (N, length).
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A proposal that learns from what codes have measured, whoever proposed them."""

    def learn(self, codes: Sequence[npt.NDArray[np.uint8]], losses: npt.NDArray[np.float64]) -> None:
        """Take measurements.

        Args:
            codes: each of shape (length,).
            losses: of the search's objectives, to minimise, shape (codes, objectives); a failed code's row is NaN.
        """
        ...
