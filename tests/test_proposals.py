"""One contract for every proposal, and what each promises besides."""

import numpy as np
import pytest
from conftest import random_scores

from evoprune.config import parse_experiment
from evoprune.space.costs import compute_costs
from evoprune.space.ranking import cut_global, cut_uniform
from evoprune.search.proposals.catalog import PROPOSALS, make_proposals
from evoprune.search.proposals.proposal import Proposal
from evoprune.search.proposals.random import Random
from evoprune.search.proposals.ranked import Ranked
from evoprune.space.space import SearchSpace

MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}


def make_proposal(space: SearchSpace, **search: object) -> Proposal:
    experiment = parse_experiment({**MINIMAL, "search": search}, "test")
    scores = {name: random_scores(space) for name in experiment.search.importances}
    ((_, proposal),) = make_proposals(space, experiment, scores).values()
    return proposal


@pytest.fixture(params=[*PROPOSALS, "evolution without prior"])
def proposal(request: pytest.FixtureRequest, small_space: SearchSpace) -> Proposal:
    name, _, without = request.param.partition(" ")
    return make_proposal(small_space, proposal=name, prior=None if without else "magnitude")


def random_parents(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 2, (count, 2, space.length), dtype=np.uint8)
    return np.apply_along_axis(space.repair, 2, codes)


def flops_shares(space: SearchSpace, codes: np.ndarray) -> np.ndarray:
    costs = compute_costs(space, np.concatenate([space.full_code()[None], codes]))["flops"]
    return costs[1:] / costs[0]


# --- every proposal


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


# --- random and ranked codes


def test_random_codes_cover_the_range_of_sizes(small_space):
    codes = Random(small_space, min_keep=0.2).first(400, np.random.default_rng(0))
    share = codes.mean(axis=1)
    counts, _ = np.histogram(share, bins=[0.25, 0.4, 0.55, 0.7, 0.85, 1.0])
    assert counts.min() > 40, f"some sizes are rare: {counts}"
    assert share.min() > 0.1


def test_random_codes_of_one_size_keep_different_channels(small_space):
    codes = Random(small_space, min_keep=0.5).first(400, np.random.default_rng(0))
    per_channel = codes.mean(axis=0)
    assert np.ptp(per_channel) < 0.15 and per_channel.min() > 0.6


@pytest.mark.parametrize("cut", [cut_uniform, cut_global])
def test_ranked_codes_are_cuts_of_one_importance_at_any_rate(small_space, cut):
    """Cuts at different rates are nested, so the more a code keeps the more it includes."""
    codes = Ranked(small_space, random_scores(small_space), cut, (0.0, 0.7)).first(40, np.random.default_rng(0))
    ordered = codes[np.argsort(codes.sum(axis=1))].astype(int)
    assert (np.diff(ordered, axis=0) >= 0).all()
    assert codes.mean(axis=1).min() >= 0.3
    assert codes.mean(axis=1).max() > 0.85


def test_ranked_codes_keep_a_limit_by_their_rate(small_space):
    proposal = make_proposal(small_space, proposal="magnitude", limits={"flops": {"max": "40%"}})
    codes = proposal.first(40, np.random.default_rng(0))
    shares = flops_shares(small_space, codes)
    assert shares.max() <= 0.4 and shares.max() - shares.min() > 0.15  # widths are coarse


@pytest.mark.parametrize("ranking", ["uniform", "global"])
def test_the_ranking_of_the_experiment_decides_the_cut(small_space, ranking):
    experiment = parse_experiment(
        {**MINIMAL, "search": {"proposal": "magnitude", "prior": None}, "importance": {"ranking": ranking}}, "test"
    )
    scores = random_scores(small_space)
    ((share, proposal),) = make_proposals(small_space, experiment, {"magnitude": scores}).values()
    rates = np.random.default_rng(0).uniform(0, 0.8, 5)
    cut = {"uniform": cut_uniform, "global": cut_global}[ranking]
    wanted = np.stack([cut(small_space, scores, rate) for rate in rates])
    assert share == 1.0 and (proposal.first(5, np.random.default_rng(0)) == wanted).all()
