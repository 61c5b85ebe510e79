"""Limits: what a candidate may cost, before and after it is measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from traced import images

from evoprune import UserError, compute_costs, load_search_space, trace_search_space
from evoprune.config import LimitConfig
from evoprune.space.limits import Limits, make_limits

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
FULL = {name: int(values[0]) for name, values in compute_costs(SPACE, SPACE.full_code()).items()}


def limits_of(**bounds: dict) -> Limits:
    return make_limits(SPACE, {name: LimitConfig(**bound) for name, bound in bounds.items()})


def random_codes(seed: int, count: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = rng.random((count, SPACE.length)) < rng.random((count, 1))
    return np.stack([SPACE.repair(code) for code in codes.astype(np.uint8)])


def test_shares_are_of_the_base_network():
    bounds = limits_of(flops={"max": "50%"}, params={"min": "12.5%", "max": 9000.0}).bounds
    assert bounds == {"flops": (-np.inf, FULL["flops"] / 2), "params": (FULL["params"] / 8, 9000.0)}


def test_bounds_include_their_ends():
    assert limits_of(flops={"max": FULL["flops"]}).allow(SPACE.full_code()[None]).tolist() == [True]
    assert limits_of(flops={"max": FULL["flops"] - 1}).allow(SPACE.full_code()[None]).tolist() == [False]
    assert limits_of(flops={"min": FULL["flops"]}).allow(SPACE.full_code()[None]).tolist() == [True]


def test_allow_looks_at_every_closed_form_bound():
    codes = random_codes(0)
    costs = compute_costs(SPACE, codes)
    mask = limits_of(flops={"max": "40%"}, params={"min": "10%"}, accuracy={"min": 99.0}).allow(codes)
    wanted = (costs["flops"] <= 0.4 * FULL["flops"]) & (costs["params"] >= 0.1 * FULL["params"])
    assert mask.tolist() == wanted.tolist()
    assert 0 < mask.sum() < len(mask)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["4%", "20%", "70%"]))
def test_shrinking_only_prunes_and_ends_below_the_bound(seed, share):
    limits = limits_of(flops={"max": share}, bandwidth={"max": "80%"})
    code = random_codes(seed, 1)[0]
    shrunk = limits.shrink(code, np.random.default_rng(seed))
    costs = {name: values[0] for name, values in compute_costs(SPACE, shrunk).items()}
    assert costs["flops"] <= float(share[:-1]) / 100 * FULL["flops"] and costs["bandwidth"] <= 0.8 * FULL["bandwidth"]
    assert (SPACE.repair(shrunk) == shrunk).all()
    if not (shrunk == SPACE.smallest_code()).all():
        added = (shrunk > code).sum()
        assert added <= len(SPACE.segments), "only repair may set a bit"


def test_a_code_within_the_bounds_is_left_alone():
    limits = limits_of(flops={"max": "90%"})
    code = next(code for code in random_codes(1) if limits.allow(code[None])[0])
    assert (limits.shrink(code, np.random.default_rng(0)) == code).all()


def test_shrinking_keeps_most_of_what_the_bound_allows():
    shrunk = limits_of(flops={"max": "50%"}).shrink(SPACE.full_code(), np.random.default_rng(0))
    assert compute_costs(SPACE, shrunk)["flops"][0] > 0.4 * FULL["flops"]


def test_shrinking_takes_several_channels_where_repair_brings_one_back():
    """Of four groups of eight that keep equally many, one channel alone always comes back."""
    layers = [nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    space = trace_search_space(nn.Sequential(*layers, nn.Linear(32, 10)), images())
    full = compute_costs(space, space.full_code())["flops"][0]
    limits = make_limits(space, {"flops": LimitConfig(max="70%")})
    for seed in range(10):
        shrunk = limits.shrink(space.full_code(), np.random.default_rng(seed))
        assert 0.5 * full < compute_costs(space, shrunk)["flops"][0] <= 0.7 * full


def test_shrinking_leaves_its_input_as_it_is():
    code = SPACE.full_code()
    limits_of(flops={"max": "30%"}).shrink(code, np.random.default_rng(0))
    assert code.all()


def test_violation_is_relative_to_each_bound():
    limits = limits_of(flops={"max": 1_000.0 + FULL["flops"]}, accuracy={"min": 80.0}, latency={"max": 2.0})
    row = {"flops": FULL["flops"], "accuracy": 80.0, "latency": 2.0}
    assert limits.violation(row) == 0
    assert limits.violation({**row, "accuracy": 60.0}) == pytest.approx(0.25)
    assert limits.violation({**row, "accuracy": 60.0, "latency": 3.0}) == pytest.approx(0.75)
    assert limits.violation({**row, "flops": 2 * (1_000 + FULL["flops"])}) == pytest.approx(1.0)


def test_a_share_of_latency_is_of_the_base_networks_and_bounds_nothing_before_that_is_measured():
    config = {"latency": LimitConfig(min="10%", max="50%")}
    assert make_limits(SPACE, config, base_ms=8.0).bounds == {"latency": (pytest.approx(0.8), 4.0)}
    assert make_limits(SPACE, config).bounds == {"latency": (-np.inf, np.inf)}


@pytest.mark.parametrize(
    ("bounds", "parts"),
    [
        ({"flops": {"max": 10}}, ["search.limits.flops.max", "10", "smallest"]),
        ({"params": {"min": "101%"}}, ["search.limits.params.min", "full network", f"{FULL['params']:,}"]),
        ({"flops": {"min": "60%", "max": "50%"}}, ["search.limits.flops", "above"]),
        ({"accuracy": {"min": "90%"}}, ["search.limits.accuracy.min", "90%"]),
        ({"latency": {"max": "0%"}}, ["search.limits.latency.max", "0%", "above 0"]),
        ({"accuracy": {"min": 0.8}}, ["search.limits.accuracy.min: got 0.8", "accuracy is in %", "write 80"]),
        ({"accuracy": {"min": 100.5}}, ["search.limits.accuracy.min", "100.5", "at most 100"]),
    ],
)
def test_bounds_that_nothing_can_keep_are_refused(bounds, parts):
    with pytest.raises(UserError) as error:
        limits_of(**bounds)
    assert [part for part in parts if part not in str(error.value)] == []
