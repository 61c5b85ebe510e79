"""NSGA-III as ask and tell; `population.py` has its survivors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from evoprune.common.seeds import derive_seed
from evoprune.config import SearchConfig
from evoprune.search.candidate import Candidate
from evoprune.search.parent_selection import choose_parents
from evoprune.search.population import Population, reference_directions
from evoprune.search.proposals.proposal import Learner, Proposal
from evoprune.space.limits import Limits
from evoprune.space.space import Code, SearchSpace

Codes = npt.NDArray[np.uint8]
_Named = tuple[Code, str]
_TRIES = 100
_FAILED_VIOLATION = 1e6
_FEWEST_PARENTS = 2


class NSGA3Searcher:
    """NSGA-III (Deb and Jain 2014) over 0/1 codes; proposals make the children, pymoo chooses the survivors.

    The first candidates are the full network and `random_samples - 1` first codes of the proposals. No code is asked
    for twice. Told a generation at a time it is the algorithm of the paper, told one by one its (mu + 1) variant.
    Chance depends on the seed, the ids asked for and the number of calls of `tell`: the same calls of `tell` lead to
    the same children, whatever was asked between them.

    Args:
        space: the search space.
        config: objectives, and how many candidates.
        limits: that codes must keep.
        proposals: by name, each with the share of the codes that it makes. Those with a share of 0 make the codes that
            are missing where the others know no new one.
        seed: of the run.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: SearchConfig,
        limits: Limits,
        proposals: Mapping[str, tuple[float, Proposal]],
        seed: int,
    ):
        self._seed, self._config = seed, config
        self._source = _Source(space, limits)
        self._proposals = {name: proposal for name, (_, proposal) in proposals.items()}
        self._makers = {name: share for name, (share, _) in proposals.items() if share}
        spare = [name for name, (share, _) in proposals.items() if not share]
        self._spare = {name: 1 / len(spare) for name in spare} or self._makers
        self._learners = [proposal for _, proposal in proposals.values() if isinstance(proposal, Learner)]
        self._full = space.full_code()
        self._num_first: int | None = None
        self._population = Population(reference_directions(len(config.objectives), config.num_individual))
        self._taken: set[int] = set()
        self._lowest_free, self._num_told = 0, 0
        self._planned: tuple[int, ...] = (config.generations,)

    @property
    def num_first(self) -> int:
        """How many candidates are asked for before the first child."""
        return len(self._first) if self._num_first is None else self._num_first

    @property
    def can_ask(self) -> bool:
        """False as long as children are asked for next and too few candidates are told to be their parents."""
        (next_id,) = self._free_ids(1)
        return next_id < self.num_first or len(self._population) >= min(_FEWEST_PARENTS, self.num_first)

    def ask(self, most: int) -> list[Candidate]:
        """At most `most` candidates with the lowest free ids; none when no new code is left."""
        ids = self._free_ids(most)
        if ids[0] < self.num_first:
            found = [Candidate(i, *self._first[i]) for i in ids if i < self.num_first]
        else:
            children = self._children(most, ids[0])
            found = [Candidate(i, *child) for i, child in zip(ids, children, strict=False)]
        self._taken.update(candidate.id for candidate in found)
        return found

    def tell(
        self,
        candidates: Sequence[Candidate],
        losses: npt.NDArray[np.float64],
        violations: npt.NDArray[np.float64],
    ) -> None:
        """Let pymoo choose survivors; a NaN row counts as a violation of everything."""
        for learner in self._learners:
            learner.learn([candidate.code for candidate in candidates], losses)
        failed = np.logical_not(np.isfinite(losses).all(axis=1))
        size = self._config.num_individual if len(self._population) else len(candidates)
        self._population.add(
            np.stack([candidate.code for candidate in candidates]),
            np.where(failed[:, None], 0.0, losses),
            np.where(failed, _FAILED_VIOLATION, violations),
        )
        number = self._num_told
        self._population.cut(size, lambda: np.random.default_rng(derive_seed(self._seed, "tell", number)))
        self._num_told += 1

    def plan(self, generations: Sequence[int]) -> None:
        """Say how many generations were planned, and then each time that the search was made longer.

        What a search asks for depends on how far it has come. So the candidates that were planned first are asked for
        as if there were to be no others.
        """
        self._planned = (*generations, self._config.generations)

    def remember(self, candidates: Iterable[Candidate], num_first: int | None = None) -> None:
        """Take the ids and codes of candidates of an earlier process as asked for.

        Args:
            candidates: those.
            num_first: how many are asked for before the first child, where all of these are among them. They are not
                made again, which takes the proposals seconds.
        """
        # They are made before their codes are known: then none of them would be new any more.
        self._num_first = len(self._first) if num_first is None else num_first
        for candidate in candidates:
            self._taken.add(candidate.id)
            self._source.remember(candidate.code)

    def _free_ids(self, number: int) -> list[int]:
        while self._lowest_free in self._taken:
            self._lowest_free += 1
        return list(islice((i for i in count(self._lowest_free) if i not in self._taken), number))

    @cached_property
    def _first(self) -> list[_Named]:
        """The full network, whatever the limits say of it, and what the proposals begin with."""
        rng = np.random.default_rng(derive_seed(self._seed, "random samples"))
        self._source.remember(self._full)

        def draw(name: str, number: int) -> Codes:
            return self._proposals[name].first(number, rng)

        return [(self._full, "full"), *self._gather(self._config.random_samples - 1, draw, rng)]

    def _children(self, number: int, next_id: int) -> list[_Named]:
        """At most `number` new codes of members of the population."""
        rng = np.random.default_rng(derive_seed(self._seed, "ask", next_id))
        asked = next_id - self.num_first
        planned = [generations * self._config.num_individual for generations in self._planned]
        progress = asked / max(1, next((number for number in planned if number > asked), planned[-1]))

        def draw(name: str, number: int) -> Codes:
            known = self._population
            pairs = choose_parents(known.losses, known.violations, number, rng)
            return self._proposals[name].propose(known.codes[pairs], min(1.0, progress), rng)

        return self._gather(number, draw, rng)

    def _gather(self, number: int, draw: Callable[[str, int], Codes], rng: np.random.Generator) -> list[_Named]:
        """At most `number` new and allowed codes, each with the name of its proposal, which are drawn by shares."""
        gathered: list[_Named] = []
        for attempt in range(_TRIES):
            missing = number - len(gathered)
            makers = self._makers if attempt < _TRIES // 2 else self._spare
            for name, share in zip(makers, rng.multinomial(missing, list(makers.values())), strict=True):
                if share:
                    gathered += [(code, name) for code in self._source.accept(draw(name, int(share)), rng)]
            if len(gathered) == number:
                break
        return gathered


class _Source:
    """Makes codes new, repaired and allowed."""

    def __init__(self, space: SearchSpace, limits: Limits):
        self._space, self._limits = space, limits
        self._known: set[str] = set()

    def remember(self, code: Code) -> None:
        """Never accept this code again."""
        self._known.add(self._space.key(code))

    def accept(self, proposed: Codes, rng: np.random.Generator) -> list[Code]:
        """Those of the proposed codes that are new and allowed, after repair and shrinking under the limits."""
        accepted = []
        for code in proposed:
            fitting = self._limits.shrink(code, rng)
            key = self._space.key(fitting)
            if key not in self._known and bool(self._limits.allow(fitting[None])[0]):
                self._known.add(key)
                accepted.append(fitting)
        return accepted
