"""NSGA-III as ask and tell. The only module that imports pymoo."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga3 import HyperplaneNormalization, associate_to_niches, calc_niche_count, niching
from pymoo.config import Config
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions

from evoprune.common.errors import UserError
from evoprune.common.seeds import derive_seed
from evoprune.config import SearchConfig
from evoprune.search.candidate import Candidate
from evoprune.search.parent_selection import choose_parents
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
        proposals: by name, each with the share of the codes that it makes.
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
        Config.warnings["not_compiled"] = False
        self._seed, self._config = seed, config
        self._source = _Source(space, limits)
        self._proposals = {name: proposal for name, (_, proposal) in proposals.items()}
        self._shares = [share for share, _ in proposals.values()]
        self._learners = [proposal for _, proposal in proposals.values() if isinstance(proposal, Learner)]
        rng = np.random.default_rng(derive_seed(seed, "random samples"))
        self._first = self._first_codes(space.full_code(), rng)
        self._population = _Population(reference_directions(len(config.objectives), config.num_individual))
        self._taken: set[int] = set()
        self._lowest_free, self._num_told = 0, 0
        self._planned: tuple[int, ...] = (config.generations,)

    @property
    def num_first(self) -> int:
        """How many candidates are asked for before the first child."""
        return len(self._first)

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

    def remember(self, candidates: Iterable[Candidate]) -> None:
        """Take the ids and codes of candidates of an earlier process as asked for."""
        for candidate in candidates:
            self._taken.add(candidate.id)
            self._source.remember(candidate.code)

    def _free_ids(self, number: int) -> list[int]:
        while self._lowest_free in self._taken:
            self._lowest_free += 1
        return list(islice((i for i in count(self._lowest_free) if i not in self._taken), number))

    def _first_codes(self, full: Code, rng: np.random.Generator) -> list[_Named]:
        """The full network, whatever the limits say of it, and what the proposals begin with."""
        self._source.remember(full)

        def draw(name: str, number: int) -> Codes:
            return self._proposals[name].first(number, rng)

        return [(full, "full"), *self._gather(self._config.random_samples - 1, draw, rng)]

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
        for _ in range(_TRIES):
            missing = number - len(gathered)
            for name, share in zip(self._proposals, rng.multinomial(missing, self._shares), strict=True):
                if share:
                    gathered += [(code, name) for code in self._source.accept(draw(name, int(share)), rng)]
            if len(gathered) == number:
                break
        return gathered


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
    partitions = 1
    while math.comb(partitions + num_objectives, num_objectives - 1) <= num_individual:  # directions of one more
        partitions += 1
    directions: npt.NDArray[np.float64] = get_reference_directions(
        "das-dennis", num_objectives, n_partitions=partitions
    )
    return directions


class _Population:
    """Codes with losses and violations, of which NSGA-III chooses the survivors.

    The steps are those of pymoo's `ReferenceDirectionSurvival`, by its own functions. Its objects for populations took
    most of the time, and a search that is continued tells all that it has measured again.

    Args:
        directions: shape (directions, objectives).
    """

    def __init__(self, directions: npt.NDArray[np.float64]):
        self._directions = directions
        self._norm = HyperplaneNormalization(directions.shape[1])
        self._is_front = False  # whether all members keep the limits, and none dominates another
        self.codes = np.zeros((0, 0), dtype=np.uint8)
        self.losses = np.zeros((0, directions.shape[1]))
        self.violations = np.zeros(0)

    def __len__(self) -> int:
        return len(self.losses)

    def add(self, codes: Codes, losses: npt.NDArray[np.float64], violations: npt.NDArray[np.float64]) -> None:
        """Add members; shapes (members, length), (members, objectives), (members,)."""
        self.codes = np.concatenate([self.codes, codes]) if len(self) else codes
        self.losses = np.concatenate([self.losses, losses])
        self.violations = np.concatenate([self.violations, violations])

    def cut(self, size: int, make_rng: Callable[[], np.random.Generator]) -> None:
        """Keep the best `size`; who breaks limits survives only where room is left, the least violation first.

        Args:
            size: of the population.
            make_rng: makes the source of chance, where it is needed.
        """
        if len(self) == size + 1 and self._is_front and self._last_is_worse():
            self._norm.worst_point = np.maximum(self._norm.worst_point, self.losses[self.violations <= 0].max(axis=0))
            self.codes, self.losses, self.violations = self.codes[:-1], self.losses[:-1], self.violations[:-1]
            return
        self._is_front = False
        feasible, others = np.flatnonzero(self.violations <= 0), np.flatnonzero(self.violations > 0)
        others = others[np.argsort(self.violations[others])]
        if len(feasible):
            feasible = feasible[self._survivors(self.losses[feasible], size, make_rng)]
        kept = np.concatenate([feasible, others[: max(0, size - len(feasible))]])
        self.codes, self.losses, self.violations = self.codes[kept], self.losses[kept], self.violations[kept]

    def _last_is_worse(self) -> bool:
        """Whether the last one breaks limits or is dominated, so that a front of the others stays what it is."""
        others, last = self.losses[:-1], self.losses[-1]
        return bool(self.violations[-1] > 0 or ((others <= last).all(axis=1) & (others < last).any(axis=1)).any())

    def _survivors(
        self, losses: npt.NDArray[np.float64], size: int, make_rng: Callable[[], np.random.Generator]
    ) -> npt.NDArray[np.int64]:
        """Indices of at most `size` rows: whole ranks, and of the last one those in the emptiest niches."""
        fronts = NonDominatedSorting().do(losses, n_stop_if_ranked=size)
        self._norm.update(losses, nds=fronts[0])
        self._is_front = len(fronts[0]) >= size
        order = np.concatenate(fronts)
        if len(order) <= size:
            return order
        niches, distances, _ = associate_to_niches(
            losses[order], self._directions, self._norm.ideal_point, self._norm.nadir_point
        )
        before = len(order) - len(fronts[-1])  # of the last rank only some survive
        count = calc_niche_count(len(self._directions), niches[:before])
        far = distances[before:]
        last = niching(fronts[-1], size - before, count, niches[before:], far, random_state=make_rng())
        return np.concatenate([order[:before], order[before:][last]])


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
