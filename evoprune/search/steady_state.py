"""What the next idle worker does when nobody waits for anybody: asynchronous evolution and successive halving."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from evoprune.common.objectives import LOST, Row
from evoprune.config import Experiment
from evoprune.search.candidate import Candidate, Planned, generation_of
from evoprune.search.front import latest_rows, losses_and_violations
from evoprune.search.promotion import promoted
from evoprune.search.searcher import Searcher
from evoprune.space.limits import Limits
from evoprune.space.space import SearchSpace


class Feeder:
    """Decides late: the next rung of a candidate that has earned it, or a new candidate.

    A candidate earns the next rung when its row is in the best share of the last `num_individual` rows of its rung,
    which is decided once, when it arrives (asynchronous successive halving, Li et al. 2020). It is told once, at its
    highest rung. All decisions follow from the seed and the rows in the order in which they arrived.
    """

    def __init__(self, searcher: Searcher, experiment: Experiment, limits: Limits, batch_size: int):
        self._searcher, self._limits, self._batch_size = searcher, limits, batch_size
        self._config, self._ladder = experiment.search, experiment.evaluation.ladder
        self._num_asked = 0
        self._recent: list[deque[Row]] = [
            deque(maxlen=self._config.num_individual) for _ in experiment.evaluation.fidelities
        ]
        self._earned: list[deque[Planned]] = [deque() for _ in self._ladder]
        self._lost: deque[Planned] = deque()
        self.num_told = 0
        self.ran_out = False
        """Whether the search space had no new code."""

    def batches(self) -> Iterator[list[Planned] | None]:
        """What is to be measured next, as long as it is asked for; None for nothing now."""
        while True:
            yield self._promoted() or self._measured_again() or self._new() or None

    def arrive(self, plan: Planned, row: Row) -> None:
        """Learn the row of a plan."""
        if plan.rung < len(self._ladder) and self._earns_next(plan.rung, row):
            self._earned[plan.rung].append(replace(plan, rung=plan.rung + 1))
        else:
            told = losses_and_violations([row], self._config.objectives, self._limits)
            self._searcher.tell([plan.candidate], *told)
            self.num_told += 1
            self.ran_out = False  # what was learned may lead to new codes

    def replay(self, rows: Sequence[Row], space: SearchSpace) -> None:
        """Learn the rows of an earlier process, in the order of their arrival; lost ones are planned again.

        Who has a row of a higher rung has earned it, whatever row was lost when that was decided.
        """
        candidates = {row["id"]: Candidate(row["id"], space.parse_code(row["code"]), row["proposal"]) for row in rows}
        self._searcher.remember(candidates.values(), _num_first(rows))
        self._num_asked = len(candidates)
        highest = {row["id"]: row["rung"] for row in latest_rows(rows)}
        for row in rows:
            plan = Planned(candidates[row["id"]], row["generation"], row["rung"])
            is_lost = row["status"] == LOST
            if is_lost:
                self._lost.append(plan)
            if is_lost or row["rung"] < highest[row["id"]]:
                self._recent[row["rung"]].append(row)
            else:
                self.arrive(plan, row)

    def _earns_next(self, rung: int, row: Row) -> bool:
        self._recent[rung].append(row)
        best = promoted(self._recent[rung], self._ladder[rung].promote, self._config.objectives, self._limits)
        return any(other is row for other in best)

    def _promoted(self) -> list[Planned]:
        """Plans of one rung, the highest first."""
        for plans in reversed(self._earned):
            if plans:
                return [plans.popleft() for _ in range(min(self._batch_size, len(plans)))]
        return []

    def _measured_again(self) -> list[Planned]:
        """A plan whose workers died in an earlier process."""
        return [self._lost.popleft()] if self._lost else []

    def _new(self) -> list[Planned]:
        first, individuals = self._searcher.num_first, self._config.num_individual
        left = first + self._config.generations * individuals - self._num_asked
        if self.ran_out or left == 0 or not self._searcher.can_ask:
            return []
        candidates = self._searcher.ask(min(self._batch_size, left))
        self.ran_out = not candidates
        self._num_asked += len(candidates)
        return [Planned(candidate, generation_of(candidate.id, first, individuals)) for candidate in candidates]


def _num_first(rows: Sequence[Row]) -> int | None:
    """How many candidates the search began with, where the rows have all of these; otherwise None."""
    first = {row["id"] for row in rows if row["generation"] == 0}
    later = [row["id"] for row in rows if row["generation"] > 0]
    return len(first) if later and first == set(range(min(later))) else None
