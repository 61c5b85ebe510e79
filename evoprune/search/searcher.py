"""The interface of a search: ask and tell."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evoprune.search.candidate import Candidate


class Searcher(Protocol):
    """Proposes candidates and learns from what they measured, a generation at a time or one by one."""

    @property
    def num_first(self) -> int:
        """How many candidates are asked for before the first child."""
        ...

    @property
    def can_ask(self) -> bool:
        """False as long as children are asked for next and too few candidates are told to be their parents."""
        ...

    def ask(self, most: int) -> list[Candidate]:
        """At most `most` candidates with the lowest free ids; none when no new code is left."""
        ...

    def tell(
        self,
        candidates: Sequence[Candidate],
        losses: npt.NDArray[np.float64],
        violations: npt.NDArray[np.float64],
    ) -> None:
        """Report what candidates measured.

        Args:
            candidates: any of those that were asked for, each once.
            losses: to minimise, shape (candidates, objectives); a failed candidate's row is NaN.
            violations: of the limits, shape (candidates,); 0 where they are kept.
        """
        ...

    def remember(self, candidates: Iterable[Candidate], num_first: int | None = None) -> None:
        """Take the ids and codes of candidates of an earlier process as asked for.

        Args:
            candidates: those.
            num_first: how many are asked for before the first child, where all of these are among them.
        """
        ...
