"""NSGA-III as ask and tell. The only module that imports pymoo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga3 import NSGA3, comp_by_cv_then_random
from pymoo.config import Config
from pymoo.core.evaluator import Evaluator
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions

from evoprune.config import SearchConfig
from evoprune.errors import UserError
from evoprune.limits import Limits
from evoprune.proposals import Proposal, Random, make_proposal
from evoprune.seeds import derive_seed
from evoprune.space import Code, SearchSpace

Codes = npt.NDArray[np.uint8]
_TRIES = 100
_FAILED_VIOLATION = 1e6


@dataclass(frozen=True)
class Candidate:
    """A repaired code that was never asked for before, and who proposed it."""

    code: Code
    proposal: str


class Searcher(Protocol):
    """Proposes candidates and learns from what they measured."""

    def ask(self) -> list[Candidate]:
        """The next generation; empty when no new code is left."""
        ...

    def tell(self, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]) -> None:
        """Report what the last `ask` measured.

        Args:
            losses: to minimise, shape (candidates, objectives); a failed candidate's row is NaN.
            violations: of the limits, shape (candidates,); 0 where they are kept.
        """
        ...


class NSGA3Searcher:
    """NSGA-III (Deb and Jain 2014) over 0/1 codes; proposals make the children, pymoo chooses parents and survivors.

    The first generation is the full network and `random_samples - 1` random codes. No code is asked for twice.
    """

    def __init__(self, space: SearchSpace, config: SearchConfig, limits: Limits, seed: int):
        Config.warnings["not_compiled"] = False
        self._source = _Source(space, limits)
        self._problem = Problem(n_var=space.length, n_obj=len(config.objectives), n_ieq_constr=1, xl=0, xu=1)
        children = _Children(self._source, make_proposal(config.proposal, space, config), config.proposal)
        rng = np.random.default_rng(derive_seed(seed, "random samples"))
        first = self._source.draw_first(Random(space, config.min_keep), config.random_samples, rng)
        self._algorithm = NSGA3(
            reference_directions(len(config.objectives), config.num_individual),
            pop_size=config.num_individual,
            sampling=first,
            mating=children,
            eliminate_duplicates=False,
            seed=derive_seed(seed, "search") % 2**32,
        )
        self._algorithm.setup(self._problem, termination=("n_gen", np.inf))
        self._asked: Population = Population.empty()

    def ask(self) -> list[Candidate]:
        """The next generation; empty when no new code is left."""
        asked = self._algorithm.infill()
        self._asked = Population.empty() if asked is None else asked
        return [Candidate(code, self._source.origin(code)) for code in self._asked.get("X")] if len(self._asked) else []

    def tell(self, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]) -> None:
        """Let pymoo choose the survivors of the last generation; a NaN row counts as a violation of everything."""
        failed = np.logical_not(np.isfinite(losses).all(axis=1))
        known = np.where(failed[:, None], 0.0, losses)
        constraint = np.where(failed, _FAILED_VIOLATION, violations)[:, None]
        Evaluator().eval(StaticProblem(self._problem, F=known, G=constraint), self._asked)
        self._algorithm.advance(infills=self._asked)


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
    best = None
    for partitions in range(1, num_individual + 1):
        directions = get_reference_directions("das-dennis", num_objectives, n_partitions=partitions)
        if len(directions) > num_individual:
            break
        best = directions
    assert best is not None
    return best


class _Source:
    """Makes codes new, repaired and allowed; remembers who proposed them."""

    def __init__(self, space: SearchSpace, limits: Limits):
        self._space, self._limits = space, limits
        self._origins: dict[str, str] = {}

    def origin(self, code: Code) -> str:
        return self._origins[self._space.key(code)]

    def draw_first(self, proposal: Proposal, count: int, rng: np.random.Generator) -> Codes:
        """The full network, whatever the limits say of it, and random codes; shape (at most count, length)."""
        full = self._space.full_code()
        self._origins[self._space.key(full)] = "full"
        codes = [full]
        nobody = np.zeros((1, 2, self._space.length), dtype=np.uint8)
        for _ in range(_TRIES * count):
            if len(codes) == count:
                break
            codes += self.accept(proposal.propose(nobody, rng), "random", rng)
        return np.stack(codes)

    def accept(self, proposed: Codes, origin: str, rng: np.random.Generator) -> list[Code]:
        """Those of the proposed codes that are new and allowed, after repair and shrinking under the limits."""
        accepted = []
        for code in proposed:
            fitting = self._limits.shrink(code, rng)
            key = self._space.key(fitting)
            if key not in self._origins and bool(self._limits.allow(fitting[None])[0]):
                self._origins[key] = origin
                accepted.append(fitting)
        return accepted


class _Children(InfillCriterion):
    """pymoo's place for mating: binary tournament as in NSGA-III, then a proposal in place of its operators."""

    def __init__(self, source: _Source, proposal: Proposal, name: str):
        super().__init__()
        self._source, self._proposal, self._name = source, proposal, name
        self._selection = TournamentSelection(func_comp=comp_by_cv_then_random)

    def do(
        self, problem: Problem, pop: Population, n_offsprings: int, random_state: Any = None, **kwargs: Any
    ) -> Population:
        children: list[Code] = []
        for _ in range(_TRIES):
            missing = n_offsprings - len(children)
            if missing == 0:
                break
            pairs: Sequence[Any] = self._selection.do(
                problem, pop, missing, 2, to_pop=False, random_state=random_state, **kwargs
            )
            parents = pop.get("X")[np.asarray(pairs)]
            children += self._source.accept(self._proposal.propose(parents, random_state), self._name, random_state)
        return Population.new("X", np.stack(children)) if children else Population.empty()
