"""NSGA-III as ask and tell: what it asks for, what it survives, and that it is better than chance."""

import numpy as np
import pytest
from helpers import make_searcher
from pymoo.indicators.hv import HV
from searching import Objective, all_failed, codes_of, evolve, flat, loss_and_cost, make_proposal, small_config

from evoprune import compute_costs
from evoprune.config import LimitConfig
from evoprune.search.candidate import Candidate
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.space.limits import make_limits
from evoprune.space.space import SearchSpace


def many_losses(num_objectives: int, length: int) -> Objective:
    weights = np.random.default_rng(3).normal(size=(length, num_objectives))
    return lambda codes: codes.astype(float) @ weights


def test_the_first_generation_is_the_full_network_and_first_codes_of_the_proposal(small_space):
    first = make_searcher(small_space, small_config(random_samples=10)).ask(10)
    assert [candidate.proposal for candidate in first] == ["full"] + 9 * ["evolution"]


class Same:
    """Proposes one code again and again."""

    def __init__(self, code: np.ndarray):
        self._code = code

    def first(self, number: int, rng: np.random.Generator) -> np.ndarray:
        return np.tile(self._code, (number, 1))

    def propose(self, parents: np.ndarray, progress: float, rng: np.random.Generator) -> np.ndarray:
        return np.tile(self._code, (len(parents), 1))


def test_where_the_proposals_know_no_new_code_the_one_that_stands_by_makes_what_is_missing(small_space):
    proposals = {"same": (1.0, Same(small_space.smallest_code())), "evolution": (0.0, make_proposal(small_space))}
    config = small_config()
    searcher = NSGA3Searcher(small_space, config, make_limits(small_space, {}), proposals, 0)
    generations = evolve(searcher, loss_and_cost(small_space), 2)
    assert [len(generation) for generation in generations] == [10, 8, 8]
    assert [one.proposal for one in generations[0]] == ["full", "same", *8 * ["evolution"]]


def test_later_generations_are_children(small_space):
    generations = evolve(make_searcher(small_space, small_config()), loss_and_cost(small_space), 3)
    assert [len(generation) for generation in generations] == [10, 8, 8, 8]
    assert {candidate.proposal for candidate in flat(generations[1:])} == {"evolution"}


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5, 6])
def test_two_to_six_objectives_run(small_space, num_objectives):
    names = tuple(f"objective {i}" for i in range(num_objectives))
    config = small_config(num_individual=12).model_copy(update={"objectives": names})
    generations = evolve(make_searcher(small_space, config), many_losses(num_objectives, small_space.length), 4, 12)
    assert [len(generation) for generation in generations] == [10, 12, 12, 12, 12]


@pytest.mark.parametrize("bound", [{"max": "40%"}, {"min": "30%", "max": "60%"}])
def test_all_codes_but_the_full_one_keep_the_limits(small_space, bound):
    config = small_config(limits={"flops": LimitConfig(**bound)})
    asked = flat(evolve(make_searcher(small_space, config), loss_and_cost(small_space), 5))
    shares = compute_costs(small_space, codes_of(asked))["flops"] / compute_costs(small_space, asked[0].code)["flops"]
    assert asked[0].code.all() and len(asked) == 50
    assert shares[1:].max() <= float(bound["max"].removesuffix("%")) / 100
    assert shares[1:].min() >= float(bound.get("min", "0%").removesuffix("%")) / 100


def test_failed_candidates_stop_nothing_and_leave_few_children(small_space):
    objective = loss_and_cost(small_space)

    def failing(codes: np.ndarray) -> np.ndarray:
        losses = objective(codes)
        losses[codes[:, 0] == 1] = np.nan
        return losses

    searcher = make_searcher(small_space, small_config(random_samples=24, num_individual=12))
    generations = evolve(searcher, failing, 10, 12)
    share = [codes_of(generation)[:, 0].mean() for generation in generations]
    assert share[0] > 0.4
    assert np.mean(share[-4:]) < 0.2


def test_violations_lose_against_kept_limits(small_space):
    searcher = make_searcher(small_space, small_config(random_samples=24, num_individual=12))
    share = []
    for number in [24] + 9 * [12]:
        asked = searcher.ask(number)
        codes = codes_of(asked)
        share.append(codes[:, 0].mean())
        searcher.tell(asked, loss_and_cost(small_space)(codes), 0.5 * codes[:, 0])
    assert share[0] > 0.4 and np.mean(share[-4:]) < 0.2


def mean_hypervolume(space: SearchSpace, proposal: str) -> float:
    objective = loss_and_cost(space)
    config = small_config(random_samples=32, num_individual=24, proposal=proposal)
    volumes = []
    for seed in range(3):
        asked = flat(evolve(make_searcher(space, config, seed), objective, 15, 24))
        assert len(asked) == 32 + 15 * 24
        volumes.append(HV(ref_point=np.ones(2))(objective(codes_of(asked))))
    return float(np.mean(volumes))


@pytest.fixture(scope="module")
def volume_of_evolution(small_space: SearchSpace) -> float:
    return mean_hypervolume(small_space, "evolution")


def test_evolution_beats_random_codes_at_equal_budget(small_space, volume_of_evolution):
    assert volume_of_evolution > mean_hypervolume(small_space, "random") + 0.05


# --- told one by one


def test_children_wait_for_two_parents(small_space):
    searcher = make_searcher(small_space, small_config(random_samples=3))
    first = searcher.ask(2)
    assert searcher.can_ask, "one of the first is left"
    first += searcher.ask(1)
    for candidate in first[:2]:
        assert not searcher.can_ask
        searcher.tell([candidate], np.full((1, 2), np.nan), np.zeros(1))
    assert searcher.can_ask and searcher.ask(1)[0].id == 3


def test_chance_depends_on_what_was_told_and_not_on_what_was_asked(small_space):
    """Told the same, a searcher that asked for 7 children and one that never asked have the same 8th."""
    objective = loss_and_cost(small_space)
    whole, resumed = (make_searcher(small_space, small_config()) for _ in range(2))
    asked = whole.ask(10)
    for candidate in asked[:7]:
        whole.tell([candidate], objective(candidate.code[None]), np.zeros(1))
    children = whole.ask(7)
    resumed.remember([*asked, *children])
    for candidate in asked[:7]:
        resumed.tell([candidate], objective(candidate.code[None]), np.zeros(1))
    assert (whole.ask(1)[0].code == resumed.ask(1)[0].code).all()


def test_ties_between_failed_parents_are_seeded_too(small_space):
    """All failed, so every tournament is a tie: two searchers of one seed still have the same children."""
    asked = [codes_of(flat(evolve(make_searcher(small_space, small_config()), all_failed, 3))) for _ in range(2)]
    assert (asked[0] == asked[1]).all()


def one_by_one(searcher: NSGA3Searcher, objective: Objective, number: int, in_flight: int) -> np.ndarray:
    """Codes of `number` candidates, told in order, each when `in_flight` more have been asked for."""
    asked: list[Candidate] = []
    for told in range(number):
        while len(asked) < min(number, told + in_flight) and searcher.can_ask:
            asked += searcher.ask(1)
        searcher.tell([asked[told]], objective(asked[told].code[None]), np.zeros(1))
    return codes_of(asked)


def test_told_one_by_one_it_finds_as_much(small_space, volume_of_evolution):
    objective = loss_and_cost(small_space)
    config = small_config(random_samples=32, num_individual=24)
    volumes = [
        HV(ref_point=np.ones(2))(objective(one_by_one(make_searcher(small_space, config, seed), objective, 392, 8)))
        for seed in range(3)
    ]
    assert np.mean(volumes) > volume_of_evolution - 0.03


# --- several proposals: each makes its share, and one that has nothing new left is no obstacle


def test_shares_of_proposals_are_kept_over_many_children(small_space):
    config = small_config(proposal={"evolution": 0.5, "random": 0.3, "magnitude": 0.2}, random_samples=100)
    generations = evolve(make_searcher(small_space, config), loss_and_cost(small_space), 4, 25)
    assert generations[0][0].proposal == "full"
    for part in (generations[0][1:], flat(generations[1:])):
        named = [candidate.proposal for candidate in part]
        counts = [named.count(name) for name in ("evolution", "random", "magnitude")]
        assert sum(counts) == len(named) >= 99
        assert abs(counts[0] / len(named) - 0.5) < 0.25 and counts[1] > 10
        assert counts[2] <= 12, "it has 13 codes at most, the full network among them: others take its place"


def test_equal_shares_make_equal_parts(small_space):
    config = small_config(proposal={"evolution": 0.5, "random": 0.5})
    children = flat(evolve(make_searcher(small_space, config), loss_and_cost(small_space), 10, 20)[1:])
    share = np.mean([candidate.proposal == "random" for candidate in children])
    assert len(children) == 200 and abs(share - 0.5) < 0.14, "four standard deviations of 200 draws"


def test_a_proposal_alone_that_has_no_new_code_left_ends(small_space):
    searcher = make_searcher(small_space, small_config(proposal="magnitude", random_samples=4, num_individual=5))
    asked = []
    while generation := searcher.ask(5):
        asked += generation
        searcher.tell(generation, loss_and_cost(small_space)(codes_of(generation)), np.zeros(len(generation)))
    assert len({candidate.code.tobytes() for candidate in asked}) == len(asked) == 13
    assert {candidate.proposal for candidate in asked[1:]} == {"magnitude"}
