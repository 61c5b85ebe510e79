"""NSGA-III as ask and tell: what it asks for, what it survives, and that it is better than chance."""

from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pytest
from conftest import NINE_CODES, make_searcher
from pymoo.indicators.hv import HV

from evoprune import UserError, compute_costs, load_search_space
from evoprune.config import LimitConfig, SearchConfig
from evoprune.search.candidate import Candidate
from evoprune.search.nsga3 import NSGA3Searcher, reference_directions
from evoprune.space.space import SearchSpace

Objective = Callable[[np.ndarray], np.ndarray]


def small_config(**changes) -> SearchConfig:
    config = {"random_samples": 10, "num_individual": 8, "generations": 0, "prior": None, **changes}
    return SearchConfig(**config)


def loss_and_cost(space: SearchSpace) -> Objective:
    """Two losses by hand: the summed weight of the cut channels, and the share of multiply-adds."""
    weights = np.random.default_rng(7).exponential(size=space.length)
    full = compute_costs(space, space.full_code())["flops"][0]

    def losses(codes: np.ndarray) -> np.ndarray:
        lost = (1 - codes.astype(float)) @ weights / weights.sum()
        return np.stack([lost, compute_costs(space, codes)["flops"] / full], axis=1)

    return losses


def many_losses(num_objectives: int, length: int) -> Objective:
    weights = np.random.default_rng(3).normal(size=(length, num_objectives))
    return lambda codes: codes.astype(float) @ weights


def evolve(
    searcher: NSGA3Searcher, objective: Objective, generations: int, size: int = 8, first: int | None = None
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


def test_the_first_generation_is_the_full_network_and_first_codes_of_the_proposal(small_space):
    first = make_searcher(small_space, small_config(random_samples=10)).ask(10)
    assert len(first) == 10
    assert first[0].code.all() and first[0].proposal == "full"
    assert {candidate.proposal for candidate in first[1:]} == {"evolution"}
    assert not any(candidate.code.all() for candidate in first[1:])


def test_later_generations_are_children(small_space):
    generations = evolve(make_searcher(small_space, small_config()), loss_and_cost(small_space), 3)
    assert [len(generation) for generation in generations] == [10, 8, 8, 8]
    assert {candidate.proposal for candidate in flat(generations[1:])} == {"evolution"}


@pytest.mark.parametrize("proposal", ["evolution", "random", {"evolution": 0.7, "magnitude": 0.3}])
def test_no_code_is_asked_for_twice_and_each_is_repaired(small_space, proposal):
    searcher = make_searcher(small_space, small_config(proposal=proposal))
    asked = flat(evolve(searcher, loss_and_cost(small_space), 10))
    assert len({candidate.code.tobytes() for candidate in asked}) == len(asked) == 90
    for candidate in asked:
        assert (small_space.repair(candidate.code) == candidate.code).all()


def test_the_seed_decides_everything(small_space):
    objective = loss_and_cost(small_space)
    first, again, other = (
        codes_of(flat(evolve(make_searcher(small_space, small_config(), seed), objective, 4))) for seed in (5, 5, 6)
    )
    assert (first == again).all()
    assert not np.array_equal(first, other)


def test_global_randomness_has_no_say(small_space):
    objective = loss_and_cost(small_space)
    np.random.seed(1)
    first = codes_of(flat(evolve(make_searcher(small_space, small_config()), objective, 3)))
    np.random.seed(2)
    second = codes_of(flat(evolve(make_searcher(small_space, small_config()), objective, 3)))
    assert (first == second).all()


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5, 6])
def test_two_to_six_objectives_run(small_space, num_objectives):
    names = tuple(f"objective {i}" for i in range(num_objectives))
    config = small_config(num_individual=12).model_copy(update={"objectives": names})
    generations = evolve(make_searcher(small_space, config), many_losses(num_objectives, small_space.length), 4, 12)
    assert [len(generation) for generation in generations] == [10, 12, 12, 12, 12]


@pytest.mark.parametrize(("random_samples", "num_individual"), [(1, 4), (2, 16), (40, 4)])
def test_any_sizes_run(small_space, random_samples, num_individual):
    config = small_config(random_samples=random_samples, num_individual=num_individual)
    generations = evolve(make_searcher(small_space, config), loss_and_cost(small_space), 3, num_individual)
    assert [len(generation) for generation in generations] == [random_samples, *[num_individual] * 3]


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("num_individual", [6, 12, 32, 100])
def test_directions_are_the_finest_grid_that_the_population_fills(num_objectives, num_individual):
    directions = reference_directions(num_objectives, num_individual)
    sizes = [comb(p + num_objectives - 1, num_objectives - 1) for p in range(1, 101)]
    assert len(directions) == max(size for size in sizes if size <= num_individual)
    assert np.allclose(directions.sum(axis=1), 1) and (directions >= 0).all()


def test_fewer_individuals_than_objectives_are_refused():
    with pytest.raises(UserError, match=r"search\.num_individual: got 3.*so 4"):
        reference_directions(4, 3)


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


def test_a_generation_in_which_all_failed_stops_nothing(small_space):
    searcher = make_searcher(small_space, small_config())
    generations = evolve(searcher, lambda codes: np.full((len(codes), 2), np.nan), 2)
    assert [len(generation) for generation in generations] == [10, 8, 8]
    assert len(evolve(searcher, loss_and_cost(small_space), 1, first=8)[1]) == 8


def test_violations_lose_against_kept_limits(small_space):
    searcher = make_searcher(small_space, small_config(random_samples=24, num_individual=12))
    share = []
    for number in [24] + 9 * [12]:
        asked = searcher.ask(number)
        codes = codes_of(asked)
        share.append(codes[:, 0].mean())
        searcher.tell(asked, loss_and_cost(small_space)(codes), 0.5 * codes[:, 0])
    assert share[0] > 0.4 and np.mean(share[-4:]) < 0.2


def test_a_space_that_runs_out_of_codes_ends_with_nothing_to_ask(tmp_path: Path):
    file = tmp_path / "nine.yaml"
    file.write_text(NINE_CODES)
    space = load_search_space(str(file))
    searcher = make_searcher(space, small_config(random_samples=3, num_individual=4))
    asked = []
    while generation := searcher.ask(4):
        asked += generation
        searcher.tell(generation, loss_and_cost(space)(codes_of(generation)), np.zeros(len(generation)))
    assert len({candidate.code.tobytes() for candidate in asked}) == len(asked) == 9


def test_a_first_generation_larger_than_the_space_is_the_whole_space(tmp_path: Path):
    file = tmp_path / "nine.yaml"
    file.write_text(NINE_CODES)
    space = load_search_space(str(file))
    searcher = make_searcher(space, small_config(random_samples=11))
    first = searcher.ask(11)
    assert len(first) == searcher.num_first == 9
    searcher.tell(first, loss_and_cost(space)(codes_of(first)), np.zeros(9))
    assert searcher.ask(1) == []


def mean_hypervolume(space: SearchSpace, proposal: str) -> float:
    objective = loss_and_cost(space)
    config = small_config(random_samples=32, num_individual=24, proposal=proposal)
    volumes = []
    for seed in range(3):
        asked = flat(evolve(make_searcher(space, config, seed), objective, 15, 24))
        assert len(asked) == 32 + 15 * 24
        volumes.append(HV(ref_point=np.ones(2))(objective(codes_of(asked))))
    return float(np.mean(volumes))


def test_evolution_beats_random_codes_at_equal_budget(small_space):
    evolution, random = (mean_hypervolume(small_space, proposal) for proposal in ("evolution", "random"))
    assert evolution > random + 0.05


def test_ids_are_the_lowest_free_ones(small_space):
    searcher = make_searcher(small_space, small_config(random_samples=3))
    earlier = make_searcher(small_space, small_config(random_samples=3)).ask(3)
    searcher.remember([earlier[1]])
    assert [candidate.id for candidate in searcher.ask(1)] == [0]
    (last,) = searcher.ask(5)
    assert last.id == 2 and (last.code == earlier[2].code).all()


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
    asked = []
    for _ in range(2):
        generations = evolve(make_searcher(small_space, small_config()), lambda c: np.full((len(c), 2), np.nan), 3)
        asked.append(codes_of(flat(generations)))
    assert (asked[0] == asked[1]).all()


def one_by_one(searcher: NSGA3Searcher, objective: Objective, number: int, in_flight: int) -> np.ndarray:
    """Codes of `number` candidates, told in order, each when `in_flight` more have been asked for."""
    asked: list[Candidate] = []
    for told in range(number):
        while len(asked) < min(number, told + in_flight) and searcher.can_ask:
            asked += searcher.ask(1)
        searcher.tell([asked[told]], objective(asked[told].code[None]), np.zeros(1))
    return codes_of(asked)


def test_told_one_by_one_it_finds_as_much(small_space):
    objective = loss_and_cost(small_space)
    config = small_config(random_samples=32, num_individual=24)
    volumes = [
        HV(ref_point=np.ones(2))(objective(one_by_one(make_searcher(small_space, config, seed), objective, 392, 8)))
        for seed in range(3)
    ]
    assert np.mean(volumes) > mean_hypervolume(small_space, "evolution") - 0.03
