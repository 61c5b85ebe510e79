"""One contract for every searcher: `evoprune.search.searcher`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import NINE_CODES, make_searcher
from searching import all_failed, codes_of, evolve, flat, loss_and_cost, small_config

from evoprune import load_search_space
from evoprune.search.searcher import Searcher
from evoprune.space.space import SearchSpace


@pytest.fixture(params=[make_searcher], ids=["NSGA-III"])
def make(request: pytest.FixtureRequest) -> Callable[..., Searcher]:
    """Makes a searcher of a space, the section `search` and a seed. A new searcher is one more parameter."""
    return request.param


@pytest.fixture
def nine(tmp_path: Path) -> SearchSpace:
    """A search space of nine codes."""
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    return load_search_space(str(tmp_path / "nine.yaml"))


def test_the_first_candidate_is_the_full_network(make, small_space):
    first = make(small_space, small_config(random_samples=10)).ask(10)
    assert len(first) == 10
    assert first[0].code.all() and first[0].proposal == "full"
    assert not any(candidate.code.all() for candidate in first[1:])


@pytest.mark.parametrize("proposal", ["evolution", "random", {"evolution": 0.7, "magnitude": 0.3}])
def test_no_code_is_asked_for_twice_and_each_is_repaired(make, small_space, proposal):
    searcher = make(small_space, small_config(proposal=proposal))
    asked = flat(evolve(searcher, loss_and_cost(small_space), 10))
    assert len({candidate.code.tobytes() for candidate in asked}) == len(asked) == 90
    for candidate in asked:
        assert (small_space.repair(candidate.code) == candidate.code).all()


def test_the_seed_decides_everything(make, small_space):
    objective = loss_and_cost(small_space)
    first, again, other = (
        codes_of(flat(evolve(make(small_space, small_config(), seed), objective, 4))) for seed in (5, 5, 6)
    )
    assert (first == again).all()
    assert not np.array_equal(first, other)


def test_global_randomness_has_no_say(make, small_space):
    objective = loss_and_cost(small_space)
    np.random.seed(1)
    first = codes_of(flat(evolve(make(small_space, small_config()), objective, 3)))
    np.random.seed(2)
    second = codes_of(flat(evolve(make(small_space, small_config()), objective, 3)))
    assert (first == second).all()


@pytest.mark.parametrize(("random_samples", "num_individual"), [(1, 4), (2, 16), (40, 4)])
def test_any_sizes_run(make, small_space, random_samples, num_individual):
    config = small_config(random_samples=random_samples, num_individual=num_individual)
    generations = evolve(make(small_space, config), loss_and_cost(small_space), 3, num_individual)
    assert [len(generation) for generation in generations] == [random_samples, *[num_individual] * 3]


def test_ids_are_the_lowest_free_ones(make, small_space):
    searcher = make(small_space, small_config(random_samples=3))
    earlier = make(small_space, small_config(random_samples=3)).ask(3)
    searcher.remember([earlier[1]])
    assert [candidate.id for candidate in searcher.ask(1)] == [0]
    (last,) = searcher.ask(5)
    assert last.id == 2 and (last.code == earlier[2].code).all()


def test_a_remembered_code_is_never_asked_for(make, nine):
    """Three of nine codes are remembered: six are left, under the other ids."""
    earlier = make(nine, small_config(random_samples=3)).ask(3)
    searcher = make(nine, small_config(random_samples=3, num_individual=4))
    searcher.remember(earlier)
    searcher.tell(earlier, loss_and_cost(nine)(codes_of(earlier)), np.zeros(3))
    asked = []
    while found := searcher.ask(2):
        asked += found
    known = {candidate.code.tobytes() for candidate in earlier}
    assert len({candidate.code.tobytes() for candidate in asked} | known) == 9
    assert sorted(candidate.id for candidate in asked) == [*range(3, 9)]


def test_a_space_that_runs_out_of_codes_ends_with_nothing_to_ask(make, nine):
    searcher = make(nine, small_config(random_samples=3, num_individual=4))
    asked = []
    while generation := searcher.ask(4):
        asked += generation
        searcher.tell(generation, loss_and_cost(nine)(codes_of(generation)), np.zeros(len(generation)))
    assert len({candidate.code.tobytes() for candidate in asked}) == len(asked) == 9


def test_a_first_generation_larger_than_the_space_is_the_whole_space(make, nine):
    searcher = make(nine, small_config(random_samples=11))
    first = searcher.ask(11)
    assert len(first) == searcher.num_first == 9
    searcher.tell(first, loss_and_cost(nine)(codes_of(first)), np.zeros(9))
    assert searcher.ask(1) == []


def test_a_generation_in_which_all_failed_stops_nothing(make, small_space):
    searcher = make(small_space, small_config())
    generations = evolve(searcher, all_failed, 2)
    assert [len(generation) for generation in generations] == [10, 8, 8]
    assert len(evolve(searcher, loss_and_cost(small_space), 1, first=8)[1]) == 8
