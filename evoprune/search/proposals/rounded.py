"""Any proposal, with codes whose widths are multiples of a number of channels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evoprune.search.proposals.proposal import Learner, Proposal
from evoprune.space.ranking import Scores
from evoprune.space.rounding import round_code
from evoprune.space.space import SearchSpace

Codes = npt.NDArray[np.uint8]


class Rounded:
    """Rounds what a proposal makes.

    Args:
        proposal: makes the codes, and learns where it can.
        space: the search space.
        multiple: channels that every segment keeps a multiple of, or it keeps all.
        scores: importance of every bit, shape (space.length,): the least important channels go, the most important come
            back. None for any channels.
    """

    def __init__(self, proposal: Proposal, space: SearchSpace, multiple: int, scores: Scores | None):
        self._proposal, self._space, self._multiple, self._scores = proposal, space, multiple, scores

    def first(self, number: int, rng: np.random.Generator) -> Codes:
        """Codes of shape (number, length)."""
        return self._rounded(self._proposal.first(number, rng), rng)

    def propose(self, parents: Codes, progress: float, rng: np.random.Generator) -> Codes:
        """Codes of shape (N, length), one for each pair of `parents`, shape (N, 2, length)."""
        return self._rounded(self._proposal.propose(parents, progress, rng), rng)

    def learn(self, codes: Sequence[Codes], losses: npt.NDArray[np.float64]) -> None:
        """Hand measurements on, as `Learner` says."""
        if isinstance(self._proposal, Learner):
            self._proposal.learn(codes, losses)

    def _rounded(self, codes: Codes, rng: np.random.Generator) -> Codes:
        return np.stack([round_code(self._space, code, self._multiple, self._keys(rng), rng) for code in codes])

    def _keys(self, rng: np.random.Generator) -> Scores:
        """Importance, or chance, which is the same for channels that go together."""
        if self._scores is not None:
            return self._scores
        keys = np.empty(self._space.length)
        for group in self._space.groups:
            group.put(keys, rng.random(group.width))
        return keys
