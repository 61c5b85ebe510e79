"""Keys of an experiment that say where codes come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoprune import UserError
from evoprune.config import Experiment, parse_experiment
from evoprune.common.yaml_files import parse_yaml

MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
NAMES = ["evolution", "magnitude", "scop", "random"]


def parse(search: dict | None = None, importance: dict | None = None) -> Experiment:
    return parse_experiment({**MINIMAL, "search": search or {}, "importance": importance or {}}, "x")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_share_of_all(name):
    assert parse({"proposal": name}) == parse({"proposal": {name: 1}}) == parse({"proposal": {name: 1.0}})
    assert parse({"proposal": name}).search.proposal == {name: 1.0}
    assert parse().search.proposal == {"evolution": 1.0}


@given(st.lists(st.sampled_from(NAMES), unique=True, min_size=1), st.data())
def test_shares_are_the_same_again_from_the_file_that_a_run_writes(names, data):
    weights = [data.draw(st.integers(1, 99)) for _ in names]
    shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    experiment = parse({"proposal": shares})
    again = parse_experiment(parse_yaml(experiment.to_yaml(), "config.yaml"), "config.yaml")
    assert again == experiment and again.identity() == experiment.identity()
    assert list(again.search.proposal.items()) == list(shares.items())


@pytest.mark.parametrize(
    ("search", "importance", "parts"),
    [
        ({"proposal": {"evolution": 0.5, "random": 0.2}}, {}, ["search.proposal: got", "add up to 1", "come to 0.7"]),
        ({"proposal": {"evolution": 0.8, "random": 0.3}}, {}, ["search.proposal: got", "come to 1.1"]),
        ({"proposal": {"evolution": 1.5, "random": -0.5}}, {}, ["proposal.evolution: got 1.5", "proposal.random: got"]),
        ({"proposal": {"evolution": 1.0, "random": 0.0}}, {}, ["search.proposal.random: got 0.0", "greater than 0"]),
        ({"proposal": {"evolution": 1, "random": True}}, {}, ["search.proposal.random: got True", "number"]),
        ({"proposal": {"evolution": "most"}}, {}, ["search.proposal.evolution: got 'most'", "number"]),
        ({"proposal": {}}, {}, ["search.proposal: got {}", "names with shares"]),
        ({"proposal": ["random"]}, {}, ["search.proposal: got ['random']", "names with shares"]),
        ({"proposal": "evolutoin"}, {}, ["got 'evolutoin'", *NAMES]),
        ({"proposal": {"evolution": 0.5, "rnadom": 0.5}}, {}, ["search.proposal.rnadom: got 'rnadom'", *NAMES]),
        ({"prior": "scopp"}, {}, ["search.prior: got 'scopp'", "'magnitude'", "'scop'"]),
        ({"prior": "none"}, {}, ["search.prior: got 'none'", "'magnitude'", "'scop'"]),
        ({"prior_fade": 0}, {}, ["search.prior_fade: got 0", "greater than 0"]),
        ({}, {"criterion": "L1"}, ["importance.criterion: got 'L1'", "'l1'", "'geometric_median'", "'taylor'"]),
        ({}, {"criterium": "l1"}, ["unknown key importance.criterium", "did you mean 'criterion'"]),
        ({}, {"ranking": "layer"}, ["importance.ranking: got 'layer'", "'uniform'", "'global'"]),
        ({}, {"images": 0}, ["importance.images: got 0", "greater than or equal to 1"]),
        ({}, {"scop": {"epoch": 1}}, ["unknown key importance.scop.epoch", "did you mean 'epochs'"]),
        ({}, {"scop": {"knockoff": "gauss"}}, ["importance.scop.knockoff: got 'gauss'", "'gaussian'"]),
    ],
)
def test_an_error_names_the_key_what_came_and_what_is_allowed(search, importance, parts):
    with pytest.raises(UserError) as caught:
        parse(search, importance)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    ("search", "needed"),
    [
        ({}, ("magnitude",)),
        ({"prior": None}, ()),
        ({"prior": "scop"}, ("scop",)),
        ({"prior": None, "proposal": "magnitude"}, ("magnitude",)),
        ({"proposal": {"evolution": 0.5, "scop": 0.5}}, ("magnitude", "scop")),
        ({"prior": "scop", "proposal": {"scop": 0.5, "magnitude": 0.5}}, ("magnitude", "scop")),
        ({"prior": None, "proposal": "random"}, ()),
    ],
)
def test_importances_are_those_that_proposals_need(search, needed):
    assert parse(search).search.importances == needed


def test_what_decides_codes_is_part_of_a_runs_identity():
    whole = parse().identity()
    changes = [({"proposal": "random"}, {}), ({"prior": None}, {}), ({"prior_fade": 0.5}, {})]
    changes += [({}, {"criterion": "l2"}), ({}, {"ranking": "global"}), ({}, {"scop": {"epochs": 2}})]
    assert all(parse(search, importance).identity() != whole for search, importance in changes)
