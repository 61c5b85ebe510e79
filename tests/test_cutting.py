"""Cuts by rate and by FLOPs: how many channels go, which, and that more is never less."""

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import random_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune import UserError, load_search_space
from evoprune.space.costs import code_costs
from evoprune.space.ranking import CUTS, cut_global, cut_to_flops, cut_uniform, keep_best
from evoprune.space.limits import smallest_code

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
FULL_FLOPS = code_costs(SPACE, SPACE.full_code())["flops"]
SMALLEST_FLOPS = code_costs(SPACE, smallest_code(SPACE))["flops"]

rates = st.floats(0, 1)
scores_of = st.integers(0, 1000).map(lambda seed: random_scores(SPACE, seed))
cuts = st.sampled_from([cut_uniform, cut_global])
few = settings(max_examples=40, deadline=None)


def flops(code: np.ndarray) -> int:
    return code_costs(SPACE, code)["flops"]


@few
@given(scores_of, st.integers(0, 100))
def test_uniform_drops_the_rate_of_every_segment_but_one_stays(scores, percent):
    kept = SPACE.widths(cut_uniform(SPACE, scores, percent / 100))
    for segment in SPACE.segments:
        assert kept[segment.name] == max(1, segment.width - percent * segment.width // 100)


@few
@given(scores_of, rates)
def test_uniform_keeps_the_most_important(scores, rate):
    code = cut_uniform(SPACE, scores, rate)
    for segment in SPACE.segments:
        bits, values = code[segment.slice], scores[segment.slice]
        assert bits.any()
        if not bits.all():
            assert values[bits == 1].min() >= values[bits == 0].max()


@few
@given(scores_of, st.integers(0, 100))
def test_global_drops_the_rate_of_all_channels_but_the_best_of_each_segment(scores, percent):
    code = cut_global(SPACE, scores, percent / 100)
    number = percent * SPACE.length // 100
    best = np.array([segment.start + scores[segment.slice].argmax() for segment in SPACE.segments])
    least = np.argsort(scores, kind="stable")[:number]
    assert set(np.flatnonzero(code == 0)) == set(least) - set(best)
    assert (code == 0).sum() >= number - len(best)


@few
@given(cuts, scores_of, rates, rates)
def test_a_higher_rate_keeps_a_part_of_what_a_lower_one_keeps(cut, scores, first, second):
    lower, higher = (cut(SPACE, scores, rate) for rate in sorted((first, second)))
    assert (higher <= lower).all()
    assert (SPACE.repair(higher) == higher).all()


@few
@given(cuts, scores_of)
def test_the_ends_of_the_rate(cut, scores):
    assert cut(SPACE, scores, 0.0).all()
    assert set(SPACE.widths(cut(SPACE, scores, 1.0)).values()) == {1}


@settings(max_examples=12, deadline=None)
@given(cuts, scores_of, st.floats(0, 1))
def test_a_cut_to_flops_fits_and_a_slightly_lower_rate_does_not(cut, scores, share):
    most = SMALLEST_FLOPS + share * (FULL_FLOPS - SMALLEST_FLOPS)
    code = cut_to_flops(SPACE, scores, cut, most)
    assert flops(code) <= most
    wider = next((c for c in cuts_by_falling_rate(cut, scores) if (c >= code).all() and (c != code).any()), None)
    if wider is None:
        assert code.all()
    else:
        assert flops(wider) > most


def cuts_by_falling_rate(cut, scores: np.ndarray) -> Iterator[np.ndarray]:
    """The cut at every rate where it changes: multiples of 1 / 16 (so of 1 / 4 too) or 1 / length."""
    steps = np.unique([number / width for width in (16, SPACE.length) for number in range(width + 1)])
    return (cut(SPACE, scores, rate) for rate in steps[::-1])


@settings(max_examples=5, deadline=None)
@given(cuts, scores_of)
def test_a_target_that_the_full_network_keeps_cuts_nothing(cut, scores):
    assert cut_to_flops(SPACE, scores, cut, FULL_FLOPS).all()
    assert cut_to_flops(SPACE, scores, cut, 2.0 * FULL_FLOPS).all()


@pytest.mark.parametrize("cut", CUTS.values(), ids=list(CUTS))
def test_a_target_below_the_smallest_network_is_refused(cut):
    scores = random_scores(SPACE)
    assert flops(cut_to_flops(SPACE, scores, cut, SMALLEST_FLOPS)) == SMALLEST_FLOPS
    with pytest.raises(UserError, match=rf"the smallest network of resnet20 has {SMALLEST_FLOPS:,}"):
        cut_to_flops(SPACE, scores, cut, SMALLEST_FLOPS - 1)


def test_of_equal_scores_the_earlier_channels_stay():
    code = keep_best(SPACE, np.ones(SPACE.length), {segment.name: 2 for segment in SPACE.segments})
    assert {name: kept.tolist() for name, kept in SPACE.kept(code).items()} == {
        segment.name: [0, 1] for segment in SPACE.segments
    }


def test_a_count_below_one_keeps_the_best():
    scores = random_scores(SPACE)
    code = keep_best(SPACE, scores, {segment.name: 0 for segment in SPACE.segments})
    for segment in SPACE.segments:
        assert SPACE.kept(code)[segment.name].tolist() == [scores[segment.slice].argmax()]
