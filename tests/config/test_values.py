"""What single values may be: each check returns what is right as it came, and says of the rest what may be."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoprune.config.values import (
    auto_or_count,
    bound,
    each_once,
    gpu_share,
    image_sides,
    named_once,
    plain_mapping,
    shares,
    validation_source,
)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none())
def test_a_bound_is_any_finite_number_or_none(value):
    assert bound(value) is value


@given(st.integers(0, 10**6), st.integers(0, 999))
def test_a_bound_may_be_a_share(whole, part):
    for text in (f"{whole}%", f"{whole}.{part}%"):
        assert bound(text) == text


@pytest.mark.parametrize("value", [True, math.nan, -math.inf, "50", "%", "-5%", "1e3%", "50 % of it", "٥%", [1]])
def test_no_other_bound_is_taken(value):
    with pytest.raises(ValueError, match="a number, or a share of the base network's such as 50%"):
        bound(value)


@pytest.mark.parametrize("value", [0.1, 0.999, "own", "images.npz"])
def test_validation_images_are_a_share_or_have_a_place(value):
    assert validation_source(value) == value


@pytest.mark.parametrize("value", [0.0, 1.0, 1, -0.1, math.nan, True, "", None])
def test_validation_images_come_from_nowhere_else(value):
    with pytest.raises(ValueError, match="a fraction between 0 and 1, `own`, or the path"):
        validation_source(value)


@pytest.mark.parametrize("value", [None, 0, 0.25, 1, 2, 3.0])
def test_gpus_are_whole_or_parts_of_one(value):
    assert gpu_share(value) == value


@pytest.mark.parametrize("value", [-1, 1.5, -0.5])
def test_ray_has_no_other_share_of_gpus(value):
    with pytest.raises(ValueError, match="a fraction of one GPU"):
        gpu_share(value)


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, None), (96, 96), ([96, 128], (96, 128)), ((3, 2), (3, 2)), ([5, 5], 5)]
)
def test_images_have_a_side_or_a_height_and_a_width(value, wanted):
    assert image_sides(value) == wanted


@pytest.mark.parametrize("value", [0, -1, True, 9.0, "96", [96], [96, 0], [1, 2, 3], [96, True], {}])
def test_images_have_no_other_size(value):
    with pytest.raises(ValueError, match=r"a whole number from 1 to 4096, or two of them, \[height, width\]"):
        image_sides(value)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "many", None])
def test_a_count_is_auto_or_at_least_one(value):
    assert [auto_or_count(good) for good in ("auto", 1, 99)] == ["auto", 1, 99]
    with pytest.raises(ValueError, match="auto, or a whole number of at least 1"):
        auto_or_count(value)


def test_a_name_and_its_alias_are_one_name_twice():
    assert named_once({"flops": 1, "params": 2}) == {"flops": 1, "params": 2}
    with pytest.raises(ValueError, match="one of flops and macs, which are the same"):
        named_once({"macs": 1, "params": 2, "flops": 3})
    with pytest.raises(ValueError, match="each name once"):
        each_once(("flops", "params", "flops"))


@given(st.dictionaries(st.text(max_size=5), st.integers(1, 1000), min_size=1, max_size=6))
def test_shares_add_up_to_one_in_the_order_that_they_came(weights):
    total = sum(weights.values())
    given_shares = {name: weight / total for name, weight in weights.items()}
    assert list(shares(given_shares).items()) == list(given_shares.items())
    with pytest.raises(ValueError, match="shares that add up to 1; these come to 2"):
        shares({name: 2 * share for name, share in given_shares.items()})


def test_a_mapping_may_hold_what_json_can():
    mapping = {"env_vars": {"A": "1"}, "pip": ["one", "two"], "config": {"setup_timeout_seconds": 60, "eager": None}}
    assert plain_mapping(mapping) is mapping


@pytest.mark.parametrize(
    "value", [None, "x", [1], {1: 2}, {"a": {1: 2}}, {"a": [{None: 1}]}, {"a": math.nan}, {"a": "\ud800"}, {"a": b"x"}]
)
def test_no_other_mapping_is_taken(value):
    with pytest.raises(ValueError, match="a mapping"):
        plain_mapping(value)
