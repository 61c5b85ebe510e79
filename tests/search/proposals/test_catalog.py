"""What an experiment's keys make of the proposals that it names."""

import numpy as np
import pytest
from helpers import random_scores
from searching import MINIMAL, make_proposal

from evoprune.config import parse_experiment
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.space.ranking import prune_global, prune_uniform


@pytest.mark.parametrize("ranking", ["uniform", "global"])
def test_the_ranking_of_the_experiment_decides_the_codes(small_space, ranking):
    experiment = parse_experiment(
        {**MINIMAL, "search": {"proposal": "magnitude", "prior": None}, "importance": {"ranking": ranking}}, "test"
    )
    scores = random_scores(small_space)
    knowledge = Knowledge(small_space, experiment, {"magnitude": scores})
    ((share, proposal),) = make_proposals(knowledge).values()
    rates = np.random.default_rng(0).uniform(0, 0.8, 5)
    prune = {"uniform": prune_uniform, "global": prune_global}[ranking]
    wanted = np.stack([prune(small_space, scores, rate) for rate in rates])
    assert share == 1.0 and (proposal.first(5, np.random.default_rng(0)) == wanted).all()


def test_each_proposal_has_its_own_share_and_its_own_scores(small_space):
    """The channel that goes first is the least important one of that importance."""
    shares = {"evolution": 0.5, "scop": 0.3, "magnitude": 0.2}
    experiment = parse_experiment({**MINIMAL, "search": {"proposal": shares}}, "test")
    scores = {name: random_scores(small_space, seed) for seed, name in enumerate(("magnitude", "scop"))}
    made = make_proposals(Knowledge(small_space, experiment, scores))
    assert {name: share for name, (share, _) in made.items()} == shares
    last = small_space.segment("layer3.0.middle").slice
    for name in ("magnitude", "scop"):
        codes = made[name][1].first(60, np.random.default_rng(0))[:, last]
        (first,) = np.flatnonzero(codes[codes.sum(axis=1) == 15][0] == 0)
        assert first == scores[name][last].argmin()


def test_evolution_stands_by_for_the_surrogate_and_nothing_for_others(small_space):
    for proposal, wanted in (("surrogate", {"surrogate": 1, "evolution": 0}), ("magnitude", {"magnitude": 1})):
        experiment = parse_experiment({**MINIMAL, "search": {"proposal": proposal}}, "test")
        made = make_proposals(Knowledge(small_space, experiment, {"magnitude": random_scores(small_space)}))
        assert {name: share for name, (share, _) in made.items()} == wanted


def test_offsets_reach_the_first_codes_of_evolution(small_space):
    experiment = parse_experiment({**MINIMAL, "search": {"prior": None, "proposal": "evolution"}}, "test")
    offsets = np.zeros(len(small_space.groups))
    offsets[[0, 1]] = 0.3, -0.3
    wider, narrower = (
        make_proposals(Knowledge(small_space, experiment, {}, given))["evolution"][1]
        .first(40, np.random.default_rng(0))[:, small_space.segments[0].slice]
        .mean()
        for given in (offsets, -offsets)
    )
    assert wider > narrower + 0.2


@pytest.mark.parametrize(("min_keep", "fewest"), [(0.25, 5), (0.5, 9)])
def test_ranked_codes_prune_at_rates_below_one_less_min_keep_and_a_limit_takes_the_low_ones(
    small_space, min_keep, fewest
):
    """Of 16 channels go int(16 x rate); a network within 60 % of the FLOPs keeps at most 13 of them."""
    last = small_space.segment("layer3.0.middle").slice
    free, bound = (
        make_proposal(small_space, proposal="magnitude", min_keep=min_keep, limits=limits)
        .first(300, np.random.default_rng(0))[:, last]
        .sum(axis=1)
        for limits in ({}, {"flops": {"max": "60%"}})
    )
    assert set(free) == set(range(fewest, 17))
    assert bound.min() == fewest and bound.max() <= 13
