"""Which proposals there are. A new one is one file here, one line in `PROPOSALS` and a name in `config/search.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from evoprune.config import Experiment
from evoprune.search.accuracy_model import AccuracyModel
from evoprune.search.proposals.evolution import Evolution
from evoprune.search.proposals.proposal import Proposal
from evoprune.search.proposals.random import Random
from evoprune.search.proposals.ranked import Ranked
from evoprune.search.proposals.rounded import Rounded
from evoprune.search.proposals.surrogate import Surrogate
from evoprune.space.costs import compute_costs
from evoprune.space.limits import Limits, make_limits
from evoprune.space.ranking import RANKINGS, Ranking, Scores, prune_by_offsets, prune_uniform
from evoprune.space.space import SearchSpace

_RATES = 100  # steps of one per cent
_TRUST = 0.25  # in measurements where curves are known (docs/results/equal_flops.md, "At 0.15")
Values = npt.NDArray[np.float64]
_ANY_CURVE = np.array([0.0, 0.5, 0.75, 1.0]), np.array([0.0, 2.0, 8.0, 40.0])  # where no group's own is known


@dataclass(frozen=True)
class Knowledge:
    """What a proposal may know before the first measurement.

    Attributes:
        space: the search space.
        experiment: its `search` and `importance`.
        scores: importance of every bit of a code, shape (length,), by name: all that `search.importances` lists.
        offsets: how much more than the others each of `space.groups` is to keep in the first codes, as a share of its
            channels, shape (groups,); None where that is not known.
        curves: for each of `space.groups`, shares of its channels that were pruned and what that cost alone, in points
            of accuracy; None where that is not known.
        base_accuracy: of the base network, in percent.
    """

    space: SearchSpace
    experiment: Experiment
    scores: Mapping[str, Scores]
    offsets: npt.NDArray[np.float64] | None = None
    curves: Sequence[tuple[Values, Values]] | None = None
    base_accuracy: float = 100.0

    @property
    def limits(self) -> Limits:
        """Those of the search, before the base network's latency is known."""
        config = self.experiment.search
        return make_limits(self.space, config.limits, round_to=config.round_to)


def make_proposals(knowledge: Knowledge) -> dict[str, tuple[float, Proposal]]:
    """The proposals that an experiment names, by name, each with its share of the codes.

    The surrogate's front may hold no new code, as where widths are coarse. Evolution stands by for that.
    """
    shares = knowledge.experiment.search.proposal
    shares = {**shares, **({"evolution": 0.0} if "surrogate" in shares and "evolution" not in shares else {})}
    return {name: (share, _rounded(knowledge, name, PROPOSALS[name](knowledge))) for name, share in shares.items()}


def _rounded(knowledge: Knowledge, name: str, proposal: Proposal) -> Proposal:
    """The proposal, with widths that are multiples of `search.round_to`; its own importance says which channels.

    Random codes stay random: they are what others are held against.
    """
    config = knowledge.experiment.search
    if config.round_to == 1:
        return proposal
    scores = None if name == "random" else knowledge.scores.get(name, knowledge.scores.get(config.prior or ""))
    return Rounded(proposal, knowledge.space, config.round_to, scores)


def _evolution(knowledge: Knowledge) -> Evolution:
    space, config = knowledge.space, knowledge.experiment.search
    scores = None if config.prior is None else knowledge.scores[config.prior]
    lowest = compute_costs(space, prune_uniform(space, np.zeros(space.length), 1 - config.min_keep))["flops"][0]
    highest = compute_costs(space, space.full_code())["flops"][0]
    least, most = knowledge.limits.bounds.get("flops", (lowest, highest))
    if most < lowest:  # a limit asks for less than min_keep leaves
        lowest = compute_costs(space, space.smallest_code())["flops"][0]
    return Evolution(knowledge.limits, config, scores, (max(lowest, least), min(highest, most)), knowledge.offsets)


def _ranked(importance: str, knowledge: Knowledge) -> Ranked:
    space, scores = knowledge.space, knowledge.scores[importance]
    ranking, most = _ranking(knowledge), 1 - knowledge.experiment.search.min_keep
    rates = np.linspace(0, 1, _RATES + 1)
    allowed = rates[knowledge.limits.allow(np.stack([ranking(space, scores, rate) for rate in rates]))]
    least = float(allowed[0]) if len(allowed) else most
    if least > most:  # a limit asks for less than min_keep leaves
        most = float(allowed[-1])
    return Ranked(space, scores, ranking, (least, most))


def _ranking(knowledge: Knowledge) -> Ranking:
    """The experiment's ranking; that by sensitivity is uniform where the search has measured none."""
    name = knowledge.experiment.importance.ranking
    if name != "sensitivity":
        return RANKINGS[name]
    return prune_uniform if knowledge.offsets is None else partial(prune_by_offsets, knowledge.offsets)


def _surrogate(knowledge: Knowledge) -> Surrogate:
    space, experiment = knowledge.space, knowledge.experiment
    curves, trust = knowledge.curves, _TRUST
    if curves is None:
        curves, trust = [_ANY_CURVE] * len(space.groups), 1.0
    model = AccuracyModel(curves, knowledge.base_accuracy, 100 / space.parameters["num_classes"], trust)
    prior = experiment.search.prior
    scores = np.zeros(space.length) if prior is None else knowledge.scores[prior]
    return Surrogate(
        space, experiment, scores, model, (_rounded(knowledge, "evolution", _evolution(knowledge)), knowledge.limits)
    )


def _random(knowledge: Knowledge) -> Random:
    return Random(knowledge.space, knowledge.experiment.search.min_keep)


PROPOSALS: Mapping[str, Callable[[Knowledge], Proposal]] = {
    "evolution": _evolution,
    "surrogate": _surrogate,
    "magnitude": partial(_ranked, "magnitude"),
    "scop": partial(_ranked, "scop"),
    "random": _random,
}
