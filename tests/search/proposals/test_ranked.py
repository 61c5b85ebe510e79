"""Ranked codes: one importance and a rate, and nothing else."""

import numpy as np
import pytest
from helpers import random_scores
from searching import flops_shares, make_proposal

from evoprune.search.proposals.ranked import Ranked
from evoprune.space.ranking import prune_global, prune_uniform


@pytest.mark.parametrize("ranking", [prune_uniform, prune_global])
def test_ranked_codes_are_prunings_by_one_importance_at_any_rate(small_space, ranking):
    """Codes of different rates are nested, so the more a code keeps the more it includes."""
    codes = Ranked(small_space, random_scores(small_space), ranking, (0.0, 0.7)).first(40, np.random.default_rng(0))
    ordered = codes[np.argsort(codes.sum(axis=1))].astype(int)
    assert (np.diff(ordered, axis=0) >= 0).all()
    assert codes.mean(axis=1).min() >= 0.3
    assert codes.mean(axis=1).max() > 0.85


def test_ranked_codes_keep_a_limit_by_their_rate(small_space):
    proposal = make_proposal(small_space, proposal="magnitude", limits={"flops": {"max": "40%"}})
    codes = proposal.first(40, np.random.default_rng(0))
    shares = flops_shares(small_space, codes)
    assert shares.max() <= 0.4 and shares.max() - shares.min() > 0.15  # widths are coarse


def test_ranked_codes_keep_a_limit_below_what_min_keep_leaves(small_space):
    """By default the rate is at most 0.8, which leaves more than 4 % of the FLOPs."""
    proposal = make_proposal(small_space, proposal="magnitude", limits={"flops": {"max": "4%"}})
    shares = flops_shares(small_space, proposal.first(40, np.random.default_rng(0)))
    assert shares.max() <= 0.04 and len(set(shares)) > 1
