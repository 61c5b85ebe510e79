"""Several proposals in one search: each makes its share, and one that has nothing new left is no obstacle."""

import numpy as np
from conftest import make_searcher
from test_search import codes_of, evolve, flat, loss_and_cost, small_config


def test_shares_of_proposals_are_kept_over_many_children(small_space):
    config = small_config(proposal={"evolution": 0.5, "random": 0.3, "magnitude": 0.2}, random_samples=100)
    generations = evolve(make_searcher(small_space, config), loss_and_cost(small_space), 4, 25)
    assert generations[0][0].proposal == "full"
    for part in (generations[0][1:], flat(generations[1:])):
        named = [candidate.proposal for candidate in part]
        counts = [named.count(name) for name in ("evolution", "random", "magnitude")]
        assert sum(counts) == len(named) >= 99
        assert abs(counts[0] / len(named) - 0.5) < 0.25 and counts[1] > 10
        assert counts[2] <= 12, "there are 13 cuts at most, the full network among them: others take its place"


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
