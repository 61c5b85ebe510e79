"""Pruning by rate and by FLOPs: how many channels go, which, and that more is never less."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from helpers import random_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from torchvision.models.shufflenetv2 import ShuffleNetV2

from evoprune import UserError, load_search_space
from evoprune.networks.traced import trace_search_space
from evoprune.space.costs import code_costs
from evoprune.space.ranking import (
    RANKINGS,
    keep_best,
    keep_first,
    mid_ranks,
    places_of,
    prune_by_offsets,
    prune_global,
    prune_on,
    prune_to_flops,
    prune_uniform,
)

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
FULL_FLOPS = code_costs(SPACE, SPACE.full_code())["flops"]
SMALLEST_FLOPS = code_costs(SPACE, SPACE.smallest_code())["flops"]

rates = st.floats(0, 1)
scores_of = st.integers(0, 1000).map(lambda seed: random_scores(SPACE, seed))
by_rate = st.sampled_from([prune_uniform, prune_global])
by_offsets = st.lists(st.floats(-0.5, 0.5), min_size=len(SPACE.groups), max_size=len(SPACE.groups)).map(
    lambda offsets: partial(prune_by_offsets, np.array(offsets))
)
rankings = by_rate | by_offsets
few = settings(max_examples=40, deadline=None)


def flops(code: np.ndarray) -> int:
    return code_costs(SPACE, code)["flops"]


@few
@given(scores_of, st.integers(0, 100))
def test_uniform_drops_the_rate_of_every_segment_but_one_stays(scores, percent):
    kept = SPACE.widths(prune_uniform(SPACE, scores, percent / 100))
    for segment in SPACE.segments:
        assert kept[segment.name] == max(1, segment.width - percent * segment.width // 100)


@few
@given(scores_of, rates)
def test_uniform_keeps_the_most_important(scores, rate):
    code = prune_uniform(SPACE, scores, rate)
    for segment in SPACE.segments:
        bits, values = code[segment.slice], scores[segment.slice]
        assert bits.any()
        if not bits.all():
            assert values[bits == 1].min() >= values[bits == 0].max()


@few
@given(scores_of, st.integers(0, 100))
def test_global_drops_the_rate_of_all_channels_but_the_best_of_each_segment(scores, percent):
    code = prune_global(SPACE, scores, percent / 100)
    number = percent * SPACE.length // 100
    best = np.array([segment.start + scores[segment.slice].argmax() for segment in SPACE.segments])
    least = np.argsort(scores, kind="stable")[:number]
    assert set(np.flatnonzero(code == 0)) == set(least) - set(best)
    assert (code == 0).sum() >= number - len(best)


@few
@given(rankings, scores_of, rates, rates)
def test_a_higher_rate_keeps_a_part_of_what_a_lower_one_keeps(ranking, scores, first, second):
    lower, higher = (ranking(SPACE, scores, rate) for rate in sorted((first, second)))
    assert (higher <= lower).all()
    assert (SPACE.repair(higher) == higher).all()


@few
@given(rankings, scores_of)
def test_the_ends_of_the_rate(ranking, scores):
    assert ranking(SPACE, scores, 0.0).all()
    assert set(SPACE.widths(ranking(SPACE, scores, 1.0)).values()) == {1}


@few
@given(scores_of, rates)
def test_offsets_say_which_groups_keep_more(scores, rate):
    """A group of offset 0.25 keeps a quarter of its channels more than one of offset 0, where neither is at its end."""
    offsets = np.where(np.arange(len(SPACE.groups)) % 2, 0.25, 0.0)
    code = prune_by_offsets(offsets, SPACE, scores, rate)
    assert abs((code == 0).mean() - rate) < 0.15, "the rate is that of all channels, but for rounding"
    shares = [group.of(code).mean() for group in SPACE.groups]
    more, fewer = ({share for share in shares[start::2] if share < 1} for start in (1, 0))
    for group, share in zip(SPACE.groups, shares, strict=True):
        assert set(np.flatnonzero(group.of(code))) == set(np.argsort(-group.of(scores))[: round(share * group.width)])
    if more and fewer and min(fewer) > 0.25:
        assert np.mean(list(more)) - np.mean(list(fewer)) == pytest.approx(0.25, abs=0.26)


def test_without_offsets_all_groups_keep_the_same_share():
    scores = random_scores(SPACE)
    for number in range(5):
        code = prune_by_offsets(np.zeros(len(SPACE.groups)), SPACE, scores, number / 4)
        assert (code == prune_uniform(SPACE, scores, number / 4)).all()


@settings(max_examples=12, deadline=None)
@given(by_rate, scores_of, st.floats(0, 1))
def test_a_code_of_given_multiply_adds_fits_and_a_slightly_lower_rate_does_not(ranking, scores, share):
    most = SMALLEST_FLOPS + share * (FULL_FLOPS - SMALLEST_FLOPS)
    code = prune_to_flops(SPACE, scores, ranking, most)
    assert flops(code) <= most
    wider = next((c for c in codes_by_falling_rate(ranking, scores) if (c >= code).all() and (c != code).any()), None)
    if wider is None:
        assert code.all()
    else:
        assert flops(wider) > most
        for group in SPACE.groups:
            for channel in np.flatnonzero(group.of(wider) & ~group.of(code) & 1):
                more = code.copy()
                for place in group.slices:
                    more[place][channel] = 1
                assert flops(more) > most, "what still fits comes back"


@pytest.mark.parametrize("share", [0.5, 0.3, 0.15])
def test_a_target_is_met_within_half_a_per_cent_of_the_network(share):
    """A rate alone takes a channel of each segment at once: it misses by up to three."""
    space = load_search_space("resnet20")
    full = code_costs(space, space.full_code())["flops"]
    code = prune_to_flops(space, random_scores(space), prune_uniform, share * full)
    assert share - 0.005 < code_costs(space, code)["flops"] / full <= share


def codes_by_falling_rate(ranking, scores: np.ndarray) -> Iterator[np.ndarray]:
    """The code at every rate where it changes: multiples of 1 / 16 (so of 1 / 4 too) or 1 / length."""
    steps = np.unique([number / width for width in (16, SPACE.length) for number in range(width + 1)])
    return (ranking(SPACE, scores, rate) for rate in steps[::-1])


@settings(max_examples=5, deadline=None)
@given(rankings, scores_of)
def test_a_target_that_the_full_network_keeps_prunes_nothing(ranking, scores):
    assert prune_to_flops(SPACE, scores, ranking, FULL_FLOPS).all()
    assert prune_to_flops(SPACE, scores, ranking, 2.0 * FULL_FLOPS).all()


@pytest.mark.parametrize("ranking", RANKINGS.values(), ids=list(RANKINGS))
def test_a_target_below_the_smallest_network_is_refused(ranking):
    scores = random_scores(SPACE)
    assert flops(prune_to_flops(SPACE, scores, ranking, SMALLEST_FLOPS)) == SMALLEST_FLOPS
    with pytest.raises(UserError, match=rf"the smallest network of resnet20 has {SMALLEST_FLOPS:,}"):
        prune_to_flops(SPACE, scores, ranking, SMALLEST_FLOPS - 1)


def test_of_equal_scores_the_earlier_channels_stay():
    code = keep_best(SPACE, np.ones(SPACE.length), [2] * len(SPACE.groups))
    assert {name: kept.tolist() for name, kept in SPACE.kept(code).items()} == {
        segment.name: [0, 1] for segment in SPACE.segments
    }


def test_a_count_below_one_keeps_the_best():
    scores = random_scores(SPACE)
    code = keep_best(SPACE, scores, [0] * len(SPACE.groups))
    for segment in SPACE.segments:
        assert SPACE.kept(code)[segment.name].tolist() == [scores[segment.slice].argmax()]


def test_many_codes_keep_what_each_keeps_alone():
    """Without adapters and equal parts repair changes nothing of them."""
    scores, rng = [random_scores(SPACE, seed) for seed in range(3)], np.random.default_rng(0)
    counts = rng.integers(0, 5, (3, len(SPACE.groups)))
    found = keep_first(SPACE, np.stack([places_of(SPACE, one) for one in scores]), counts)
    wanted = [keep_best(SPACE, one, count.tolist()) for one, count in zip(scores, counts, strict=True)]
    assert np.array_equal(found, wanted)


@few
@given(scores_of, rates)
def test_channels_that_go_together_are_kept_together(scores, rate):
    """A global ranking may end between two of them: `pruning.targets` then takes both, a search may take either."""
    code = prune_uniform(SPACE, scores, rate)
    for group in SPACE.groups:
        assert all((code[place] == group.of(code)).all() for place in group.slices)
    assert SPACE.adapters(code) == []


@few
@given(st.integers(0, 1000))
def test_ranks_inside_each_segment_are_scipys(seed):
    scores = np.random.default_rng(seed).integers(0, 5, SPACE.length).astype(float)  # with ties
    ranks = mid_ranks(SPACE, scores)
    for segment in SPACE.segments:
        wanted = (rankdata(scores[segment.slice]) - 0.5) / segment.width
        np.testing.assert_allclose(ranks[segment.slice], wanted, atol=1e-12)


def test_ranks_by_hand(small_space):
    scores = np.arange(small_space.length, dtype=float)
    scores[:4] = [0.5, -1.0, 0.5, 7.0]
    scores[4:8] = 3.0
    found = mid_ranks(small_space, scores)
    assert found[:4] == pytest.approx([0.5, 0.125, 0.5, 0.875]), "the ties share ranks 2 and 3 of 4"
    assert found[4:8] == pytest.approx([0.5] * 4)
    last = small_space.segments[-1]
    assert found[last.slice] == pytest.approx((np.arange(last.width) + 0.5) / last.width)


def test_a_second_pruning_where_many_parts_must_stay_even_has_no_channel_back_and_needs_no_repair():
    """In ShuffleNet each block joins, halves and shuffles what the one before has left."""
    space = trace_search_space(ShuffleNetV2([3, 3, 3], [4, 8, 16, 32, 16], 10).eval(), torch.zeros(2, 3, 32, 32))
    num_odd = 0
    for seed in range(30):
        first = prune_uniform(space, random_scores(space, seed), 0.65)
        scores = np.where(first == 1, random_scores(space, seed + 1000), -np.inf)
        wanted = prune_uniform(space, scores, 0.85)
        num_odd += bool((space.repair(wanted & first) != wanted & first).any())
        second = prune_on(space.slim(first), first, wanted, scores)
        assert (second <= first).all() and (space.repair(second) == second).all()
    assert num_odd, "some cannot be had by what both keep"
