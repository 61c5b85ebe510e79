"""Candidates, and measurements of them that are still to come."""

from dataclasses import dataclass

from evoprune.space.space import Code


@dataclass(frozen=True)
class Candidate:
    """A repaired code that was never asked for before, its number, and who proposed it."""

    id: int
    code: Code
    proposal: str


def generation_of(candidate_id: int, num_first: int, num_individual: int) -> int:
    """The generation that a candidate was asked for in: 0 for the first ones, then as many each as the population."""
    return max(0, 1 + (candidate_id - num_first) // num_individual)


@dataclass(frozen=True)
class Planned:
    """A row that is still to be measured: a candidate, the generation that it counts in, and the rung."""

    candidate: Candidate
    generation: int
    rung: int = 0
