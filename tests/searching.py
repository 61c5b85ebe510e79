"""What the tests of searchers and proposals share: made-up objectives, generations, parents."""

from collections.abc import Callable

import numpy as np
from helpers import random_scores

from evoprune import compute_costs
from evoprune.config import SearchConfig, parse_experiment
from evoprune.search.candidate import Candidate
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.search.proposals.proposal import Proposal
from evoprune.search.searcher import Searcher
from evoprune.space.space import Code, SearchSpace

Objective = Callable[[np.ndarray], np.ndarray]
MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}


def small_config(**changes: object) -> SearchConfig:
    config: dict[str, object] = {
        "random_samples": 10,
        "num_individual": 8,
        "generations": 0,
        "prior": None,
        "proposal": "evolution",
    }
    return SearchConfig(**config | changes)


def loss_and_cost(space: SearchSpace) -> Objective:
    """Two losses by hand: the summed weight of the pruned channels, and the share of multiply-adds."""
    weights = np.random.default_rng(7).exponential(size=space.length)
    full = compute_costs(space, space.full_code())["flops"][0]

    def losses(codes: np.ndarray) -> np.ndarray:
        lost = (1 - codes.astype(float)) @ weights / weights.sum()
        return np.stack([lost, compute_costs(space, codes)["flops"] / full], axis=1)

    return losses


def all_failed(codes: np.ndarray) -> np.ndarray:
    return np.full((len(codes), 2), np.nan)


def evolve(
    searcher: Searcher, objective: Objective, generations: int, size: int = 8, first: int | None = None
) -> list[list[Candidate]]:
    """The candidates of a generation of `first` (by default all first ones) and of `generations` more of `size`."""
    asked = []
    for number in [searcher.num_first if first is None else first] + generations * [size]:
        asked.append(searcher.ask(number))
        losses = objective(codes_of(asked[-1]))
        searcher.tell(asked[-1], losses, np.zeros(len(losses)))
    return asked


def codes_of(candidates: list[Candidate]) -> np.ndarray:
    return np.stack([candidate.code for candidate in candidates])


def flat(generations: list[list[Candidate]]) -> list[Candidate]:
    return [candidate for generation in generations for candidate in generation]


def make_proposal(space: SearchSpace, **search: object) -> Proposal:
    """The one proposal of a search with these keys, evolution unless named, with made-up scores."""
    experiment = parse_experiment({**MINIMAL, "search": {"proposal": "evolution", **search}}, "test")
    scores = {name: random_scores(space) for name in experiment.search.importances}
    made = make_proposals(Knowledge(space, experiment, scores))
    (name,) = experiment.search.proposal
    return made[name][1]


def random_parents(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 2, (count, 2, space.length), dtype=np.uint8)
    return np.apply_along_axis(space.repair, 2, codes)


def flops_shares(space: SearchSpace, codes: np.ndarray) -> np.ndarray:
    costs = compute_costs(space, np.concatenate([space.full_code()[None], codes]))["flops"]
    return costs[1:] / costs[0]


def is_rounded(space: SearchSpace, code: Code, multiple: int) -> bool:
    """Whether every segment keeps a multiple of `multiple` channels, or all."""
    return all(space.widths(code)[one.name] % multiple == 0 or code[one.slice].all() for one in space.segments)
