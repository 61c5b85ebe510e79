"""Which networks of a front are trained, counted by hand."""

from typing import Any

import pytest

from evoprune import UserError
from evoprune.space.costs import code_costs
from evoprune.stages.select_networks import check_selection, num_selected, select_rows


def front(number: int) -> list[dict[str, Any]]:
    """A front whose third row is a knee: from there on, FLOPs rise fast and accuracy slowly."""
    points = [(60.0, 10), (80.0, 20), (90.0, 30), (91.0, 60), (92.0, 90), (93.0, 120)]
    rows = [{"key": f"k{i}", "accuracy": a, "flops": f} for i, (a, f) in enumerate(points[:number])]
    return [{**row, "latency": 2.0 + index} for index, row in enumerate(rows)]


BASE = {"flops": 120.0, "latency": 10.0}


@pytest.mark.parametrize(
    ("select", "keys"),
    [
        ("all", ["k0", "k1", "k2", "k3", "k4", "k5"]),
        ({"count": 2}, ["k0", "k5"]),
        ({"count": 1}, ["k2"]),
        ({"count": 9}, ["k0", "k1", "k2", "k3", "k4", "k5"]),
        (["k4", "k1"], ["k4", "k1"]),
        ({"max": {"flops": 60}}, ["k3"]),
        ({"max": {"macs": [119, "25%", 10]}}, ["k4", "k2", "k0"]),
        ({"max": {"flops": [35, 59.9]}}, ["k2"]),
        ({"max": {"flops": [20], "latency": ["50%"]}}, ["k1", "k3"]),
    ],
    ids=str,
)
def test_selections_by_hand(tiny, select, keys):
    rows = select_rows(front(6), tiny(retrain={"select": select}), BASE)
    assert [row["key"] for row in rows] == keys


def test_the_knee_is_the_first_of_the_knees(tiny):
    rows = select_rows(front(6), tiny(retrain={"select": "knees"}), BASE)
    assert [row["key"] for row in rows] == ["k2", "k1"], "the rest is straight"


@pytest.mark.parametrize(("number", "key"), [(1, "k0"), (2, "k1")])
def test_of_a_front_without_a_bend_the_one_network_is_the_most_accurate(tiny, number, key):
    (row,) = select_rows(front(number), tiny(retrain={"select": {"count": 1}}), BASE)
    assert row["key"] == key


def test_a_key_that_is_not_on_the_front_is_refused(tiny):
    with pytest.raises(UserError, match=r"retrain\.select: k00 is not on the front; did you mean 'k0'"):
        select_rows(front(3), tiny(retrain={"select": ["k00"]}), BASE)


@pytest.mark.parametrize("select", ["all", "knees", {"count": 3}, {"max": {"flops": 1}}])
def test_of_an_empty_front_nothing_is_selected(tiny, select):
    assert select_rows([], tiny(retrain={"select": select}), BASE) == []


def test_of_equal_accuracy_the_cheaper_network_is_taken(tiny):
    rows = [{"key": "dear", "accuracy": 90.0, "flops": 50}, {"key": "cheap", "accuracy": 90.0, "flops": 40}]
    (row,) = select_rows(rows, tiny(retrain={"select": {"max": {"flops": 60}}}), BASE)
    assert row["key"] == "cheap"


def test_a_bound_that_no_network_keeps_says_the_smallest(tiny):
    message = r"retrain\.select\.max\.flops: no network of the front has at most 9 multiply-adds; the smallest has 10"
    with pytest.raises(UserError, match=message):
        select_rows(front(3), tiny(retrain={"select": {"max": {"flops": [20, 9]}}}), BASE)


def test_a_bound_that_no_network_can_keep_is_told_before_the_search(tiny, small_space):
    least = code_costs(small_space, small_space.smallest_code())["params"]
    check_selection(tiny(retrain={"select": {"max": {"params": ["50%", least]}}}), small_space)
    message = (
        rf"retrain\.select\.max\.params: got {least - 1}.*, but the smallest network of .* has {least:,} parameters"
    )
    with pytest.raises(UserError, match=message):
        check_selection(tiny(retrain={"select": {"max": {"params": ["50%", least - 1]}}}), small_space)


@pytest.mark.parametrize("search", [{"limits": {"flops": {"min": "40%"}}}, {"round_to": 8}])
def test_a_bound_below_what_the_search_may_find_is_told_before_it(tiny, small_space, search):
    select = {"select": {"max": {"flops": ["60%", "30%"]}}}
    check_selection(tiny(retrain=select), small_space)
    with pytest.raises(UserError, match=r"got 30%, but the smallest network of resnet20 that the search may find has"):
        check_selection(tiny(search=search, retrain=select), small_space)


def test_a_share_of_what_the_base_network_does_not_tell_is_refused(tiny):
    with pytest.raises(UserError, match=r"retrain\.select\.max\.latency: got 50%, a share of what is not known"):
        select_rows(front(3), tiny(retrain={"select": {"max": {"latency": "50%"}}}), {"flops": 120.0})


def test_a_cost_that_was_not_measured_bounds_nothing(tiny):
    rows = [{"key": "k0", "accuracy": 90.0, "flops": 50, "latency": None}]
    with pytest.raises(UserError, match=r"retrain\.select\.max\.latency: the search does not measure latency"):
        select_rows(rows, tiny(retrain={"select": {"max": {"latency": "50%"}}}), BASE)


@pytest.mark.parametrize(("select", "number"), [({"max": {"flops": [1, 2], "params": 3}}, 3), ("knees", 3), (["a"], 1)])
def test_the_estimate_knows_how_many_are_trained_at_most(tiny, select, number):
    assert num_selected(tiny(retrain={"select": select})) == number


def test_of_a_long_search_about_a_third_is_on_the_front(tiny):
    """Of 352 candidates of published searches 122, 121 and 88 were, with a population of 32."""
    long = {"random_samples": 32, "num_individual": 32, "generations": 10}
    assert num_selected(tiny(retrain={"select": "all"}, search=long)) == 118
