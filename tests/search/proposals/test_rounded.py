"""Any proposal with widths that are multiples."""

import numpy as np
import pytest
from helpers import make_searcher
from searching import flops_shares, is_rounded, make_proposal, random_parents

from evoprune.config import LimitConfig, SearchConfig
from evoprune.search.proposals.catalog import PROPOSALS
from evoprune.search.proposals.rounded import Rounded


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("prior", ["magnitude", None])
def test_codes_of_every_proposal_are_rounded(small_space, name, prior):
    proposal = make_proposal(small_space, proposal=name, prior=prior, round_to=4)
    assert isinstance(proposal, Rounded)
    rng = np.random.default_rng(0)
    first, children = proposal.first(12, rng), proposal.propose(random_parents(small_space, 12), 0.5, rng)
    assert all(is_rounded(small_space, code, 4) for codes in (first, children) for code in codes)
    assert np.ptp(flops_shares(small_space, first)) > 0.2, "they still are of many sizes"


def test_random_codes_know_no_importance(small_space):
    """Of 16 channels with any importance each is kept as often as the others, where 4, 8 or 12 of them stay."""
    proposal = make_proposal(small_space, proposal="random", prior="magnitude", round_to=4)
    codes = proposal.first(600, np.random.default_rng(0))[:, small_space.segment("layer3.0.middle").slice]
    kept = codes[codes.sum(axis=1) < 16].mean(axis=0)
    assert np.ptp(kept) < 0.2


def test_measurements_reach_a_proposal_that_learns(small_space):
    class Notes:
        def learn(self, codes, losses):
            self.seen = codes, losses

    inner, told = Notes(), (["code"], np.zeros((1, 2)))
    Rounded(inner, small_space, 4, None).learn(*told)
    assert inner.seen == told
    Rounded(object(), small_space, 4, None).learn(*told)


@pytest.mark.parametrize("limits", [{}, {"flops": LimitConfig(max="40%")}])
def test_a_search_asks_for_rounded_codes_only_and_finds_new_ones(small_space, limits):
    config = SearchConfig(random_samples=8, num_individual=8, proposal="evolution", round_to=2, limits=limits)
    searcher = make_searcher(small_space, config)
    keys = set()
    for generation in range(6):
        asked = searcher.ask(8)
        assert len(asked) == 8, f"generation {generation}"
        assert all(is_rounded(small_space, candidate.code, 2) for candidate in asked)
        keys |= {small_space.key(candidate.code) for candidate in asked}
        shares = flops_shares(small_space, np.stack([candidate.code for candidate in asked]))
        assert not limits or (np.delete(shares, 0) if generation == 0 else shares).max() <= 0.4
        losses = np.stack([np.random.default_rng(generation).random(8), shares], axis=1)
        searcher.tell(asked, losses, np.zeros(8))
    assert len(keys) == 48
