"""How far a pruning is to go: what a user may say, and the code that each step comes to."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import random_scores

from evoprune import UserError, compute_costs, load_search_space
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.pruning.targets import Target, choose_by_loss, choose_codes, parse_method, parse_target
from evoprune.space.ranking import RANKINGS, keep_best
from evoprune.space.space import SearchSpace


def target_of(space: SearchSpace, **given: str | None) -> Target:
    everything: dict[Any, str | None] = {"rate": None, "flops": None, "max_loss": None, **given}
    return parse_target(everything, space)


@pytest.mark.parametrize(
    ("given", "value", "name"),
    [
        ({"rate": "0.45"}, 0.45, "rate-0.45"),
        ({"rate": " 0.50 "}, 0.5, "rate-0.5"),
        ({"max_loss": "2"}, 2.0, "max-loss-2"),
        ({"max_loss": "0"}, 0.0, "max-loss-0"),
        ({"flops": "1e5"}, 1e5, "flops-100000"),
    ],
)
def test_a_target_is_its_kind_its_value_and_a_name_for_files(small_space, given, value, name):
    (kind,) = given
    assert target_of(small_space, **given) == Target(kind, value, name)


def test_a_share_of_the_flops_is_that_of_the_original_network(small_space):
    full = compute_costs(small_space, small_space.full_code())["flops"][0]
    assert target_of(small_space, flops="12.5%") == Target("flops", 0.125 * full, "flops-12.5pct")


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({}, ["--rate, --flops, --max-loss", "got none", "try --rate 0.5"]),
        ({"rate": "0.5", "flops": "50%"}, ["one of", "--rate and --flops"]),
        ({"rate": "1"}, ["--rate", "between 0 and 1", "got 1"]),
        ({"rate": "0"}, ["--rate", "between 0 and 1", "got 0"]),
        ({"rate": "half"}, ["--rate", "got half"]),
        ({"rate": "nan"}, ["--rate", "got nan"]),
        ({"rate": "50%"}, ["--rate", "got 50%"]),
        ({"flops": "10"}, ["--flops", "got 10", "at least"]),
        ({"flops": "0.1%"}, ["--flops", "got 0.1%", "at least"]),
        ({"flops": "100%"}, ["--flops", "got 100%", "below"]),
        ({"flops": "inf"}, ["--flops", "got inf"]),
        ({"max_loss": "-1"}, ["--max-loss", "got -1"]),
        ({"max_loss": "two"}, ["--max-loss", "got two"]),
    ],
)
def test_a_mistake_is_named_with_what_came_and_what_to_do(small_space, given, parts):
    with pytest.raises(UserError) as refusal:
        target_of(small_space, **given)
    assert [part for part in parts if part not in str(refusal.value)] == []


def test_an_importance_is_found_by_its_name_alone():
    assert [parse_method(name) for name in ("magnitude", "scop")] == ["magnitude", "scop"]
    with pytest.raises(UserError, match=r"--method .*'magnitud'; did you mean 'magnitude'"):
        parse_method("magnitud")


def test_the_smallest_network_that_an_error_names_can_be_asked_for(small_space):
    least = compute_costs(small_space, small_space.repair(np.zeros(small_space.length, dtype=np.uint8)))["flops"][0]
    with pytest.raises(UserError, match=f"at least {least:,} "):
        target_of(small_space, flops=str(least - 1))
    target = parse_target({"flops": str(least)}, load_search_space("resnet20", 4, 10, 1, 8))
    assert target.value == least and target.name == f"flops-{least}"


@pytest.mark.parametrize("ranking", list(RANKINGS))
def test_a_rate_is_gone_evenly_and_no_channel_comes_back(small_space, ranking):
    choose = choose_codes(target_of(small_space, rate="0.5"), small_space, RANKINGS[ranking])
    scores = random_scores(small_space)
    codes = [choose(scores, step / 4) for step in range(5)]
    assert codes[0].all()
    for number, code in enumerate(codes):
        assert not small_space.adapters(code)
        if ranking == "uniform":
            widths = {s.name: s.width - int(0.125 * number * s.width) for s in small_space.segments}
            assert small_space.widths(code) == widths
        else:
            assert 0 <= (code == 0).sum() - int(0.125 * number * small_space.length) <= 1
    for earlier, later in pairwise(codes):
        assert (later <= earlier).all() and later.sum() < earlier.sum()


def test_global_pruning_never_parts_tied_segments(small_space):
    """Even where the rate ends between a channel of the stem and the same one of the trunk."""
    scores = np.arange(small_space.length, dtype=float)
    slices = {segment.name: segment.slice for segment in small_space.segments}
    scores[slices["layer1.final"]] = scores[slices["stem"]] = [-4.0, -3.0, -2.0, -1.0]
    for number in range(1, 9):
        rate = number / small_space.length
        code = choose_codes(Target("rate", rate, "rate"), small_space, RANKINGS["global"])(scores, 1.0)
        assert (code[slices["stem"]] == code[slices["layer1.final"]]).all()


@pytest.mark.parametrize("ranking", list(RANKINGS))
def test_flops_are_kept_to_and_one_channel_more_would_exceed_them(small_space, ranking):
    full = compute_costs(small_space, small_space.full_code())["flops"][0]
    scores = random_scores(small_space)
    choose = choose_codes(target_of(small_space, flops="50%"), small_space, RANKINGS[ranking])
    for gone, most in ((0.5, 0.75 * full), (1.0, 0.5 * full)):
        code = choose(scores, gone)
        assert compute_costs(small_space, code)["flops"][0] <= most
        by_rate = [
            choose_codes(Target("rate", rate, "rate"), small_space, RANKINGS[ranking])(scores, 1.0)
            for rate in np.linspace(0.001, 0.999, 1000)
        ]
        costs = compute_costs(small_space, np.stack(by_rate))["flops"]
        fits = [other for other, cost in zip(by_rate, costs, strict=True) if cost <= most]
        larger = [other for other, cost in zip(by_rate, costs, strict=True) if cost > most]
        assert (code >= max(fits, key=np.sum)).all() and (code <= min(larger, key=np.sum)).all()
        assert code.sum() < min(larger, key=np.sum).sum()


def test_a_loss_is_read_from_the_curves_and_gone_evenly_too(small_space):
    """Straight curves: of each group the last channel would cost 10 points, so at a loss of 5 half of them stay."""
    number = len(small_space.groups)
    curves = Curves(small_space, (np.array([0.0, 1.0]),) * number, (np.array([0.0, 10.0]),) * number)
    choose = choose_by_loss(Target("max_loss", 5.0, "max-loss-5"), curves)
    scores = random_scores(small_space)
    for gone, share in ((1.0, 0.5), (0.5, 0.75)):
        wanted = keep_best(small_space, scores, [int(share * group.width) for group in small_space.groups])
        assert (choose(scores, gone) == wanted).all()
