"""Keys of a search: what is minimised and limited, how long it is, and where codes come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoprune import UserError
from evoprune.common.yaml_files import parse_yaml
from evoprune.config import Experiment, parse_experiment

BASIS = "data: {dataset: digits}\nsearch_space: {name: resnet20}\n"
MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
NAMES = ["evolution", "magnitude", "scop", "random"]


def parse(**search: object) -> Experiment:
    return parse_experiment({**MINIMAL, "search": search}, "x")


# --- objectives, limits, length


def test_limits_are_numbers_or_shares(load):
    experiment = load(
        BASIS + "search: {limits: {flops: {max: 20e6}, params: {min: 10%, max: 62.5%}, accuracy: {min: 80}}}"
    )
    limits = experiment.search.limits
    assert (limits["flops"].max, limits["flops"].min) == (20_000_000, None)
    assert (limits["params"].min, limits["params"].max) == ("10%", "62.5%")
    assert limits["accuracy"].min == 80


def test_macs_is_another_name_of_flops(load):
    search = load(BASIS + "search: {objectives: [accuracy, macs], limits: {macs: {max: 50%}}}").search
    assert search.objectives == ("accuracy", "flops")
    assert list(search.limits) == ["flops"]


def test_num_generation_is_another_name_of_generations(load):
    experiment = load(BASIS + "search: {num_generation: 7, num_individual: 10, random_samples: 5}")
    assert experiment.search.generations == 7
    assert experiment.num_evaluations == 75
    assert "num_generation" not in experiment.to_yaml()


def test_num_generation_overrides_generations(load):
    assert load(BASIS + "search: {generations: 4}", "search.num_generation=3").search.generations == 3


def test_latency_is_measured_where_it_is_an_objective_or_limited(load):
    assert load(BASIS, "search.objectives=[accuracy, latency]").measures_latency
    assert load(BASIS, "search.limits={latency: {max: 3}}").measures_latency
    assert not load(BASIS).measures_latency


# --- where codes come from


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_share_of_all(name):
    assert parse(proposal=name) == parse(proposal={name: 1}) == parse(proposal={name: 1.0})
    assert parse(proposal=name).search.proposal == {name: 1.0}


@pytest.mark.parametrize(
    ("objectives", "name"),
    [
        (["accuracy", "flops"], "surrogate"),
        (["accuracy", "params", "bandwidth"], "surrogate"),
        (["accuracy", "flops", "latency"], "evolution"),
        (["flops", "params"], "evolution"),
    ],
)
def test_by_default_a_model_proposes_where_it_can_predict(objectives, name):
    assert parse(objectives=objectives).search.proposal == {name: 1.0}


@given(st.lists(st.sampled_from(NAMES), unique=True, min_size=1), st.data())
def test_shares_are_the_same_again_from_the_file_that_a_run_writes(names, data):
    weights = [data.draw(st.integers(1, 99)) for _ in names]
    shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    experiment = parse(proposal=shares)
    again = parse_experiment(parse_yaml(experiment.to_yaml(), "config.yaml"), "config.yaml")
    assert again == experiment and again.identity() == experiment.identity()
    assert list(again.search.proposal.items()) == list(shares.items())


@pytest.mark.parametrize(
    ("search", "parts"),
    [
        ({"proposal": {"evolution": 0.5, "random": 0.2}}, ["search.proposal: got", "add up to 1", "come to 0.7"]),
        ({"proposal": {"evolution": 0.8, "random": 0.3}}, ["search.proposal: got", "come to 1.1"]),
        ({"proposal": {"evolution": 1.5, "random": -0.5}}, ["proposal.evolution: got 1.5", "proposal.random: got"]),
        ({"proposal": {"evolution": 1.0, "random": 0.0}}, ["search.proposal.random: got 0.0", "greater than 0"]),
        ({"proposal": {"evolution": 1, "random": True}}, ["search.proposal.random: got True", "number"]),
        ({"proposal": {"evolution": "most"}}, ["search.proposal.evolution: got 'most'", "number"]),
        ({"proposal": {}}, ["search.proposal: got {}", "names with shares"]),
        ({"proposal": ["random"]}, ["search.proposal: got ['random']", "names with shares"]),
        ({"proposal": "evolutoin"}, ["got 'evolutoin'", *NAMES]),
        ({"proposal": {"evolution": 0.5, "rnadom": 0.5}}, ["search.proposal.rnadom: got 'rnadom'", *NAMES]),
        ({"prior": "scopp"}, ["search.prior: got 'scopp'", "'magnitude'", "'scop'"]),
        ({"prior": "none"}, ["search.prior: got 'none'", "'magnitude'", "'scop'"]),
        ({"prior_fade": 0}, ["search.prior_fade: got 0", "greater than 0"]),
    ],
)
def test_an_error_names_the_key_what_came_and_what_is_allowed(search, parts):
    with pytest.raises(UserError) as caught:
        parse(**search)
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
    assert parse(**search).search.importances == needed


@pytest.mark.parametrize(
    ("search", "measures", "file"),
    [
        ({}, True, None),
        ({"prior": None}, False, None),
        ({"proposal": "random"}, False, None),
        ({"proposal": {"evolution": 0.5, "random": 0.5}}, True, None),
        ({"sensitivity": None}, False, None),
        ({"sensitivity": "mine.csv"}, False, "mine.csv"),
    ],
)
def test_sensitivity_is_measured_only_where_evolution_has_a_prior_and_no_file(search, measures, file):
    config = parse(**search).search
    assert config.measures_sensitivity is measures
    assert (config.sensitivity_file and str(config.sensitivity_file)) == file


def test_what_decides_codes_is_part_of_a_runs_identity():
    whole = parse().identity()
    assert all(
        parse(**search).identity() != whole for search in ({"proposal": "random"}, {"prior": None}, {"prior_fade": 0.5})
    )
