"""Codes that a model of the accuracy predicts to be on the front: what is measured is chosen before it is measured."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evoprune.common.objectives import OBJECTIVES
from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment
from evoprune.search.accuracy_model import AccuracyModel
from evoprune.search.candidate import Candidate
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.pareto import non_dominated
from evoprune.search.proposals.proposal import Proposal
from evoprune.space.costs import compute_costs
from evoprune.space.limits import Limits
from evoprune.space.ranking import Scores, keep_first, places_of
from evoprune.space.space import SearchSpace

Codes = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
_POPULATION, _GENERATIONS = 64, 40  # of the search on predictions
_ROUNDS, _CHILDREN = 40, 128  # of small changes of widths after it
_LARGEST_STEP = 8  # a group gives or gets an eighth of its channels at most, at once
_LEARN_EVERY, _LEARN_SHARE = 4, 16


class Surrogate:
    """Runs NSGA-III on predicted accuracies and exact costs, and proposes codes spread along the front that it finds.

    NSGA-III changes bits. Small changes of the widths that it ends with, for which a prediction is all that is needed,
    bring them nearer to the best ones.

    Which channels of a group stay follows from their importance, so that a code is its widths. The model learns anew
    with every fourth measurement, later with every sixteenth part of them: learning and searching takes seconds, and
    one candidate of thousands changes little. What is found depends on the seed and on what was measured, not on
    what was asked.

    Args:
        space: the search space.
        experiment: its seed, and its `search`, of whose objectives latency is none.
        scores: importance of every bit, shape (space.length,).
        model: predicts accuracies.
        searching: what makes the codes of the search on predictions, and the limits that they must keep.
    """

    def __init__(
        self,
        space: SearchSpace,
        experiment: Experiment,
        scores: Scores,
        model: AccuracyModel,
        searching: tuple[Proposal, Limits],
    ):
        self._space, self._config, self._seed = space, experiment.search, experiment.seed
        self._scores, self._model, (self._evolution, self._limits) = scores, model, searching
        self._places = places_of(space, scores)
        self._shares = np.zeros((0, len(space.groups)))
        self._new: list[Codes] = []
        self._accuracies: list[float] = []
        self._found: tuple[int, Codes] | None = None

    def first(self, number: int, rng: np.random.Generator) -> Codes:
        """Codes of shape (number, length), spread along the front that is predicted before anything is measured."""
        return self._spread(number, rng)

    def propose(self, parents: Codes, progress: float, rng: np.random.Generator) -> Codes:
        """Codes of shape (N, length) for `parents` of shape (N, 2, length), of which only N matters."""
        return self._spread(len(parents), rng)

    def learn(self, codes: Sequence[Codes], losses: Values) -> None:
        """Take what codes have measured, as `Learner` says."""
        if "accuracy" not in self._config.objectives:
            return
        column = self._config.objectives.index("accuracy")
        for code, loss in zip(codes, losses, strict=True):
            if np.isfinite(loss).all():
                self._new.append(code)
                self._accuracies.append(-float(loss[column]))

    def _spread(self, number: int, rng: np.random.Generator) -> Codes:
        """Codes of the predicted front, one in each of `number` equal parts of it."""
        known = _num_learned(len(self._accuracies))
        if self._found is None or self._found[0] != known:
            if known:
                self._model.fit(self._learned_shares()[:known], np.array(self._accuracies[:known]))
            self._found = known, self._predicted_front(derive_seed(self._seed, "surrogate", known))
        front = self._found[1]
        places = (np.arange(number) + rng.random(number)) / number * len(front)
        return front[places.astype(int)]

    def _learned_shares(self) -> Values:
        """`_shares_of` all that was learned, shape (codes, groups); a search that goes on learns thousands at once."""
        if self._new:
            self._shares = np.concatenate([self._shares, self._shares_of(np.stack(self._new))])
            self._new = []
        return self._shares

    def _predicted_front(self, seed: int) -> Codes:
        """The front that a search on predictions finds, cheapest codes first."""
        config = self._config.model_copy(
            update={"random_samples": _POPULATION, "num_individual": _POPULATION, "generations": _GENERATIONS}
        )
        searcher = NSGA3Searcher(self._space, config, self._limits, {"evolution": (1.0, self._evolution)}, seed)
        codes: list[Codes] = []
        for _ in range(_GENERATIONS + 1):
            asked = searcher.ask(_POPULATION)
            if not asked:
                break
            codes.append(self._ordered(np.stack([candidate.code for candidate in asked])))
            told = [Candidate(one.id, code, one.proposal) for one, code in zip(asked, codes[-1], strict=True)]
            searcher.tell(told, self._predict(codes[-1]), np.zeros(len(told)))
        pool = np.concatenate(codes)
        allowed = self._limits.allow(pool)  # ordering the channels of tied segments may have changed the costs
        return self._repaired(self._refined(pool[allowed] if allowed.any() else pool, np.random.default_rng(seed)))

    def _refined(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """Of `codes`, and of what small changes of widths make of the best, those that none beats; cheapest first."""
        codes, losses = self._best(codes, self._predict(codes))
        for _ in range(_ROUNDS):
            children = self._changed(codes[rng.integers(len(codes), size=_CHILDREN)], rng)
            children = children[self._limits.allow(children)]
            known = np.concatenate([losses, self._predict(children)])
            codes, losses = self._best(np.concatenate([codes, children]), known)
        return codes

    def _repaired(self, codes: Codes) -> Codes:
        """What `codes` become where channels must be chosen together, by importance; those that none beats."""
        repaired = np.stack([self._space.repair(code, self._scores) for code in codes])
        if np.array_equal(repaired, codes):
            return codes
        allowed = self._limits.allow(repaired)
        repaired = repaired[allowed] if allowed.any() else repaired
        return self._best(repaired, self._predict(repaired))[0]

    def _changed(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """In each of `codes` one to three groups get some channels or give some."""
        widths = np.array([group.width for group in self._space.groups])
        shape = len(codes), len(widths)
        few = rng.random(shape).argsort(axis=1) < rng.integers(1, 4, (len(codes), 1))
        most = np.maximum(1, widths // _LARGEST_STEP)
        steps = np.where(few, rng.integers(-most, most + 1, shape), 0)
        return keep_first(self._space, self._places, (self._counts(codes) + steps).clip(1, widths))

    def _best(self, codes: Codes, losses: Values) -> tuple[Codes, Values]:
        """Those of `codes` that none beats, each once, with their `losses`, cheapest first."""
        _, once = np.unique(codes, axis=0, return_index=True)
        best = once[non_dominated(losses[once])]
        cost = next(place for place, name in enumerate(self._config.objectives) if name != "accuracy")
        best = best[np.argsort(losses[best, cost], kind="stable")]
        return codes[best], losses[best]

    def _predict(self, codes: Codes) -> Values:
        known = {**compute_costs(self._space, codes), "accuracy": self._model.promise(self._shares_of(codes))}
        signs = [-1.0 if OBJECTIVES[name].maximise else 1.0 for name in self._config.objectives]
        columns = zip(self._config.objectives, signs, strict=True)
        return np.stack([sign * known[name] for name, sign in columns], axis=1).astype(float)

    def _shares_of(self, codes: Codes) -> Values:
        """Share of its channels that each group keeps, shape (codes, groups)."""
        return self._counts(codes) / np.array([group.width for group in self._space.groups])

    def _counts(self, codes: Codes) -> Counts:
        """Channels that each group keeps, shape (codes, groups)."""
        return np.stack([group.of(codes).sum(axis=1, dtype=np.int64) for group in self._space.groups], axis=1)

    def _ordered(self, codes: Codes) -> Codes:
        """Codes of the same widths that keep the most important channels of each group."""
        return keep_first(self._space, self._places, self._counts(codes))


def _num_learned(told: int) -> int:
    """How many of the first measurements the model knows: of `told` it leaves out a sixteenth at most, or three."""
    step = max(_LEARN_EVERY, 2 ** ((told // _LEARN_SHARE).bit_length() - 1)) if told >= _LEARN_SHARE else _LEARN_EVERY
    return told // step * step
