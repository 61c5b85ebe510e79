"""Where new codes come from. A proposal is one file here and one line in `PROPOSALS`."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from evoprune.config import Experiment
from evoprune.costs import compute_costs
from evoprune.cutting import CUTS, cut_uniform
from evoprune.importance.segments import Scores
from evoprune.limits import make_limits, smallest_code
from evoprune.proposals.evolution import Evolution
from evoprune.proposals.random import Random
from evoprune.proposals.ranked import Ranked
from evoprune.sensitivity_curves import Curves
from evoprune.space import SearchSpace

__all__ = ["PROPOSALS", "Evolution", "Proposal", "Random", "Ranked", "make_proposals"]


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


_RATES = 100
_Make = Callable[[SearchSpace, Experiment, Mapping[str, Scores], Curves | None], Proposal]
PROPOSALS: Mapping[str, _Make] = {
    "evolution": lambda space, experiment, scores, curves: _evolution(space, experiment, scores, curves),
    "magnitude": lambda space, experiment, scores, _: _ranked(space, experiment, scores["magnitude"]),
    "scop": lambda space, experiment, scores, _: _ranked(space, experiment, scores["scop"]),
    "random": lambda space, experiment, scores, _: Random(space, experiment.search.min_keep),
}


def make_proposals(
    space: SearchSpace, experiment: Experiment, scores: Mapping[str, Scores], curves: Curves | None = None
) -> dict[str, tuple[float, Proposal]]:
    """The proposals that an experiment names, by name, each with its share of the codes.

    Args:
        space: the search space.
        experiment: its `search` and `importance`.
        scores: by name, of all importances that `experiment.search.importances` lists.
        curves: what cutting each segment costs, for evolution's first codes; None where that is not known.
    """
    return {name: (share, PROPOSALS[name](space, experiment, scores, curves))
            for name, share in experiment.search.proposal.items()}  # fmt: skip


def _evolution(
    space: SearchSpace, experiment: Experiment, scores: Mapping[str, Scores], curves: Curves | None
) -> Evolution:
    config = experiment.search
    prior = None if config.prior is None else scores[config.prior]
    lowest = compute_costs(space, cut_uniform(space, np.zeros(space.length), 1 - config.min_keep))["flops"][0]
    highest = compute_costs(space, space.full_code())["flops"][0]
    least, most = make_limits(space, config.limits).bounds.get("flops", (lowest, highest))
    if most < lowest:  # a limit asks for less than min_keep leaves
        lowest = compute_costs(space, smallest_code(space))["flops"][0]
    offsets = None if curves is None else curves.offsets()
    return Evolution(space, config, prior, (max(lowest, least), min(highest, most)), offsets)


def _ranked(space: SearchSpace, experiment: Experiment, scores: Scores) -> Ranked:
    cut, most = CUTS[experiment.importance.ranking], 1 - experiment.search.min_keep
    limits = make_limits(space, experiment.search.limits)
    rates = np.linspace(0, 1, _RATES + 1)
    allowed = rates[limits.allow(np.stack([cut(space, scores, rate) for rate in rates]))]
    least = float(allowed.min(initial=most))
    return Ranked(space, scores, cut, (least, max(least, most)))
