"""Which proposals there are. A new one is one file here, one line in `PROPOSALS` and a name in `config/search.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evoprune.config import Experiment
from evoprune.search.proposals.evolution import Evolution
from evoprune.search.proposals.proposal import Proposal
from evoprune.search.proposals.random import Random
from evoprune.search.proposals.ranked import Ranked
from evoprune.space.costs import compute_costs
from evoprune.space.limits import make_limits
from evoprune.space.ranking import RANKINGS, Scores, prune_uniform
from evoprune.space.space import SearchSpace

_RATES = 100  # steps of one per cent


@dataclass(frozen=True)
class Knowledge:
    """What a proposal may know before the first measurement.

    Attributes:
        space: the search space.
        experiment: its `search` and `importance`.
        scores: importance of every bit of a code, shape (length,), by name: all that `search.importances` lists.
        offsets: how much more than the others each of `space.groups` is to keep in the first codes, as a share of its
            channels, shape (groups,); None where that is not known.
    """

    space: SearchSpace
    experiment: Experiment
    scores: Mapping[str, Scores]
    offsets: npt.NDArray[np.float64] | None = None


def make_proposals(knowledge: Knowledge) -> dict[str, tuple[float, Proposal]]:
    """The proposals that an experiment names, by name, each with its share of the codes."""
    shares = knowledge.experiment.search.proposal
    return {name: (share, PROPOSALS[name](knowledge)) for name, share in shares.items()}


def _evolution(knowledge: Knowledge) -> Evolution:
    space, config = knowledge.space, knowledge.experiment.search
    scores = None if config.prior is None else knowledge.scores[config.prior]
    lowest = compute_costs(space, prune_uniform(space, np.zeros(space.length), 1 - config.min_keep))["flops"][0]
    highest = compute_costs(space, space.full_code())["flops"][0]
    least, most = make_limits(space, config.limits).bounds.get("flops", (lowest, highest))
    if most < lowest:  # a limit asks for less than min_keep leaves
        lowest = compute_costs(space, space.smallest_code())["flops"][0]
    return Evolution(space, config, scores, (max(lowest, least), min(highest, most)), knowledge.offsets)


def _magnitude(knowledge: Knowledge) -> Ranked:
    return _ranked(knowledge, knowledge.scores["magnitude"])


def _scop(knowledge: Knowledge) -> Ranked:
    return _ranked(knowledge, knowledge.scores["scop"])


def _ranked(knowledge: Knowledge, scores: Scores) -> Ranked:
    space, experiment = knowledge.space, knowledge.experiment
    ranking, most = RANKINGS[experiment.importance.ranking], 1 - experiment.search.min_keep
    limits = make_limits(space, experiment.search.limits)
    rates = np.linspace(0, 1, _RATES + 1)
    allowed = rates[limits.allow(np.stack([ranking(space, scores, rate) for rate in rates]))]
    least = float(allowed.min(initial=most))
    return Ranked(space, scores, ranking, (least, max(least, most)))


def _random(knowledge: Knowledge) -> Random:
    return Random(knowledge.space, knowledge.experiment.search.min_keep)


PROPOSALS: Mapping[str, Callable[[Knowledge], Proposal]] = {
    "evolution": _evolution,
    "magnitude": _magnitude,
    "scop": _scop,
    "random": _random,
}
