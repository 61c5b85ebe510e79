"""Searchers that others use: the ancestor's operators, pymoo's NSGA-III as it comes for bits, FastNAS's threshold."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling
from pymoo.problems.static import StaticProblem

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.search.nsga3 import reference_directions
from evoprune.search.pareto import non_dominated
from evoprune.space.ranking import Scores, keep_best
from evoprune.space.space import SearchSpace

Codes = npt.NDArray[np.uint8]
_TRIES = 1000
_THRESHOLDS = 20_000


class BaselineSearcher(Protocol):
    """Codes out, losses in."""

    def ask(self, number: int) -> Codes:
        """At most `number` codes, shape (number, length); the same code may come twice."""
        ...

    def tell(self, codes: Codes, losses: npt.NDArray[np.float64]) -> None:
        """What the codes measured, to minimise, shape (number, objectives)."""
        ...


class Ancestor:
    """The operators of Vega's prune_ea: random codes with one keep rate each, then children of uniformly chosen parents
    of the front: half by inverting a random range of bits, half by two-point crossover."""

    def __init__(self, space: SearchSpace, seed: int):
        self._space, self._rng = space, np.random.default_rng(seed)
        self._codes, self._losses = np.zeros((0, space.length), np.uint8), np.zeros((0, 2))
        self._known: set[str] = set()

    def ask(self, number: int) -> Codes:
        """Codes that were never asked for."""
        draw = self._child if len(self._codes) else self._random
        codes: list[Codes] = []
        for _ in range(_TRIES * number):
            code = self._space.repair(draw())
            if self._space.key(code) not in self._known:
                self._known.add(self._space.key(code))
                codes.append(code)
            if len(codes) == number:
                break
        return np.stack(codes)

    def tell(self, codes: Codes, losses: npt.NDArray[np.float64]) -> None:
        """Keep the front."""
        self._codes, self._losses = np.vstack([self._codes, codes]), np.vstack([self._losses, losses])
        front = non_dominated(self._losses)
        self._codes, self._losses = self._codes[front], self._losses[front]

    def _random(self) -> Codes:
        return (self._rng.random(self._space.length) < self._rng.random()).astype(np.uint8)

    def _child(self) -> Codes:
        first, last = np.sort(self._rng.choice(self._space.length + 1, 2, replace=False))
        mother, father = self._codes[self._rng.integers(len(self._codes), size=2)]
        child = mother.copy()
        child[first:last] = 1 - mother[first:last] if self._rng.random() < 0.5 else father[first:last]
        return child


class OneThreshold:
    """The rule of FastNAS (NVIDIA Model Optimizer): each group is as narrow as it can be without losing more, pruned
    alone, than one threshold for all groups. Every threshold is a code; `count` of them are asked for in random order.
    """

    def __init__(self, space: SearchSpace, scores: Scores, curves: Curves, count: int, seed: int):
        every = {tuple(curves.counts_at(loss)): None for loss in np.linspace(0, curves.worst, _THRESHOLDS)}
        chosen = np.unique(np.linspace(0, len(every) - 1, count).round().astype(int))
        codes = np.stack([keep_best(space, scores, list(every)[index]) for index in chosen])
        self._left = codes[np.random.default_rng(seed).permutation(len(codes))]

    def ask(self, number: int) -> Codes:
        """The next codes; the last one again and again where there are no more."""
        codes, self._left = self._left[:number], self._left[min(number, len(self._left) - 1) :]
        return codes

    def tell(self, codes: Codes, losses: npt.NDArray[np.float64]) -> None:
        """Nothing is learnt."""


class PymooDefault:
    """pymoo's NSGA-III with its operators for binary variables: random bits, two-point crossover, bit flips."""

    def __init__(self, space: SearchSpace, seed: int, num_individual: int):
        self._space = space
        self._algorithm = NSGA3(
            pop_size=num_individual,
            ref_dirs=reference_directions(2, num_individual),
            sampling=BinaryRandomSampling(),
            crossover=TwoPointCrossover(),
            mutation=BitflipMutation(),
            eliminate_duplicates=True,
        )
        self._problem = Problem(n_var=space.length, n_obj=2, xl=0, xu=1, vtype=bool)
        self._algorithm.setup(self._problem, termination=("n_gen", 10**6), seed=seed, verbose=False)
        self._asked: Any = Population.empty()

    def ask(self, number: int) -> Codes:
        """pymoo's next generation, whatever `number`."""
        self._asked = self._algorithm.ask()
        codes = self._asked.get("X").astype(np.uint8)
        return np.stack([self._space.repair(code) for code in codes])

    def tell(self, codes: Codes, losses: npt.NDArray[np.float64]) -> None:
        """Let pymoo choose survivors among all that it asked for."""
        Evaluator().eval(StaticProblem(self._problem, F=losses), self._asked)
        self._algorithm.tell(infills=self._asked)
