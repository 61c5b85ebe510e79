"""Numbers of candidates and the generations that they are of."""

import pytest
from helpers import make_searcher
from searching import evolve, loss_and_cost, small_config

from evoprune.search.candidate import generation_of


@pytest.mark.parametrize(("first", "size"), [(4, 3), (1, 5), (6, 2)])
def test_the_generation_of_an_id_is_the_one_that_it_was_asked_for_in(small_space, first, size):
    searcher = make_searcher(small_space, small_config(random_samples=first, num_individual=size))
    generations = evolve(searcher, loss_and_cost(small_space), 3, size)
    wanted = {candidate.id: number for number, asked in enumerate(generations) for candidate in asked}
    assert {number: generation_of(number, first, size) for number in wanted} == wanted


def test_by_hand_four_first_ones_and_three_each():
    assert [generation_of(number, 4, 3) for number in range(11)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
