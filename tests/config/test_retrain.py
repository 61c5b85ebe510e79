"""Keys of full training: which networks of the front."""

import pytest

from evoprune import UserError
from evoprune.config import CountSelection, MaxSelection, RetrainConfig, parse_experiment

MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}


def parse(**retrain: object) -> RetrainConfig:
    return parse_experiment({**MINIMAL, "retrain": retrain}, "x").retrain


def test_networks_are_chosen_by_a_word_by_number_or_by_their_keys():
    assert [parse(select=word).select for word in ("all", "knees")] == ["all", "knees"]
    assert parse(select={"count": 5}).select == CountSelection(count=5)
    assert parse(select=["k1", "k2", "k1"]).select == ("k1", "k2"), "one training each"
    select = parse(select={"max": {"macs": [30e6, "15%"], "params": 1000}}).select
    assert select == MaxSelection(max={"flops": (30e6, "15%"), "params": (1000,)})


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        5,
        {"accuracy": 90},
        {"flops": []},
        {"flops": "15"},
        {"flops": [None]},
        {"flop": 3},
        {"flops": [-5]},
        {"flops": 1, "macs": 2},
    ],
)
def test_other_bounds_are_refused(bounds):
    with pytest.raises(UserError, match=r"x: retrain\.select"):
        parse(select={"max": bounds})


@pytest.mark.parametrize("select", ["some", None, 3, {"count": 0}, {"count": True}, {"cuont": 3}, [], [1], {}])
def test_other_selections_are_refused(select):
    with pytest.raises(UserError, match=r"x: retrain\.select: got .*; allowed: all, knees, a list of keys, {count"):
        parse(select=select)


def test_from_is_a_key_of_the_file_and_start_of_the_object():
    assert parse(**{"from": "scratch"}).start == "scratch"
    assert RetrainConfig(**{"from": "scratch"}).model_dump(by_alias=True)["from"] == "scratch"
