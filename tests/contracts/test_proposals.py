"""One contract for every proposal: `evoprune.search.proposals.proposal`."""

import numpy as np
import pytest
from searching import flops_shares, make_proposal, random_parents

from evoprune.search.proposals.catalog import PROPOSALS
from evoprune.search.proposals.proposal import Proposal
from evoprune.space.space import SearchSpace


@pytest.fixture(params=[*PROPOSALS, "evolution without prior"])
def proposal(request: pytest.FixtureRequest, small_space: SearchSpace) -> Proposal:
    name, _, without = request.param.partition(" ")
    return make_proposal(small_space, proposal=name, prior=None if without else "magnitude")


@pytest.mark.parametrize("count", [1, 7])
def test_one_code_for_each_pair(proposal, small_space, count):
    codes = proposal.propose(random_parents(small_space, count), 0.5, np.random.default_rng(0))
    assert codes.shape == (count, small_space.length)
    assert codes.dtype == np.uint8 and set(np.unique(codes)) <= {0, 1}


@pytest.mark.parametrize("count", [1, 7])
def test_as_many_first_codes_as_are_wanted(proposal, small_space, count):
    codes = proposal.first(count, np.random.default_rng(0))
    assert codes.shape == (count, small_space.length)
    assert codes.dtype == np.uint8 and set(np.unique(codes)) <= {0, 1}
    assert all((small_space.repair(code) == code).all() for code in codes)


def test_first_codes_are_of_many_sizes(proposal, small_space):
    shares = flops_shares(small_space, proposal.first(60, np.random.default_rng(0)))
    assert shares.min() < 0.2 and shares.max() > 0.7
    assert np.histogram(shares, bins=4, range=(0, 1))[0].min() > 0


def test_the_generator_decides_everything(proposal, small_space):
    parents = random_parents(small_space, 8)
    for draw in (lambda rng: proposal.propose(parents, 0.5, rng), lambda rng: proposal.first(8, rng)):
        first, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert (first == again).all() and not (first == other).all()


def test_parents_are_left_as_they_are(proposal, small_space):
    parents = random_parents(small_space, 8)
    before = parents.copy()
    proposal.propose(parents, 0.0, np.random.default_rng(0))
    assert (parents == before).all()


def test_children_need_little_repair(proposal, small_space):
    codes = proposal.propose(random_parents(small_space, 50), 0.0, np.random.default_rng(0))
    assert np.mean([(small_space.repair(code) == code).all() for code in codes]) > 0.9


@pytest.mark.parametrize("kept", [0, 1])
def test_the_smallest_and_the_full_code_have_children_too(proposal, small_space, kept):
    code = small_space.repair(np.full(small_space.length, kept, dtype=np.uint8))
    codes = proposal.propose(np.broadcast_to(code, (50, 2, len(code))), 0.5, np.random.default_rng(0))
    assert (codes != code).any(axis=1).mean() > 0.3
