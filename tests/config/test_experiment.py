"""Experiments: strict, frozen, and the same again from the file that a run writes."""

import time

import pytest
import yaml
from config_values import TEXT
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evoprune import UserError, load_experiment
from evoprune.common.yaml_files import parse_yaml
from evoprune.config import parse_experiment

MINIMAL = {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
assert EXPERIMENTS
BASIS = "data: {dataset: digits}\nsearch_space: {name: resnet20}\n"


def again(experiment):
    """What the file that a run writes means."""
    return parse_experiment(parse_yaml(experiment.to_yaml(), "config.yaml"), "config.yaml")


# --- what is read


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_carried_experiment_loads_by_path_and_by_name_and_again(path):
    experiment = load_experiment(str(path))
    assert load_experiment(path.stem) == experiment == again(experiment)
    assert experiment.name == path.stem


def test_the_name_is_the_files_unless_it_says_otherwise(load):
    assert load(BASIS).name == "mine"
    assert load("name: other\n" + BASIS).name == "other"


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1E-3", 0.001), ("+5e-4", 0.0005), ("2", 2.0), (".5", 0.5)]
)
def test_numbers_are_read_as_people_write_them(load, text, value):
    assert load(BASIS + f"base: {{lr: {text}}}").base.lr == value
    assert load(BASIS, f"base.lr={text}").base.lr == value


def test_an_experiment_is_frozen():
    experiment = parse_experiment(MINIMAL, "x")
    for place, key in ((experiment, "seed"), (experiment.base, "lr"), (experiment.search, "limits")):
        with pytest.raises(ValidationError):
            setattr(place, key, 1)


# --- overrides


def test_overrides_reach_any_depth(load):
    overrides = [
        "seed=5",
        "retrain.distillation.weight=0.5",
        "search.limits.flops.max=50%",
        "retrain.select={count: 3}",
    ]
    experiment = load(BASIS + "seed: 1", *overrides)
    assert (experiment.seed, experiment.retrain.distillation.weight) == (5, 0.5)
    assert (experiment.search.limits["flops"].max, experiment.retrain.select.count) == ("50%", 3)


def test_the_last_override_wins_and_leaves_its_neighbours(load):
    experiment = load(BASIS + "base: {lr: 0.3, epochs: 7}", "base.lr=0.1", "base.lr=0.2")
    assert (experiment.base.lr, experiment.base.epochs) == (0.2, 7)


def test_an_override_reaches_into_a_section_that_is_null(load):
    """As it stands in the config.yaml of a run."""
    experiment = load(BASIS + "retrain: {distillation: null}", "retrain.distillation.weight=0.5")
    assert experiment.retrain.distillation.weight == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.lr", r"--set takes section\.key=value, got 'base\.lr'"),
        ("=3", r"--set takes section\.key=value, got '=3'"),
        ("base.lr.x=3", r"--set base\.lr\.x=3: base\.lr is not a section"),
        ("name.first=x", r"--set name\.first=x: name is not a section"),
        ("base.lr=[1", r"--set base\.lr=\[1: not valid YAML"),
        ("bse.lr=1", r"unknown key bse; did you mean 'base'\?"),
        ("base.learning_rate=1", r"unknown key base\.learning_rate; .*allowed: .*\blr\b"),
        ("base.lr=", r"base\.lr: got None"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(load, override, message):
    with pytest.raises(UserError, match=message):
        load(BASIS + "base: {lr: 0.1}", override)


def test_of_thousands_of_mistakes_the_first_are_told_at_once(load):
    started = time.process_time()
    with pytest.raises(UserError, match=r"and 9,980 more$") as refused:
        load(BASIS + f"evaluation: {{ladder: [{', '.join(['1'] * 10_000)}]}}")
    assert len(str(refused.value).splitlines()) <= 21 and time.process_time() - started < 20, "it was quadratic"


def test_who_is_to_blame_is_named(load):
    with pytest.raises(UserError, match=r"^the options of this command: base\.lr: got -1"):
        load(BASIS + "base: {lr: 0.1}", "base.lr=-1")
    with pytest.raises(UserError, match=r"mine\.yaml: base\.lr: got -1"):
        load(BASIS + "base: {lr: 0.1, epochs: -2}", "base.lr=-1")


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASIS + "base: {lr: 0.1, lr: 0.2}", r"mine\.yaml: .*key 'lr' stands twice"),
        (BASIS + "seed: 1\nseed: 2", "key 'seed' stands twice"),
        (BASIS + "search: {generations: 3, num_generation: 4}", "num_generation"),
        (BASIS + "search: {limits: {flops: {max: 1e6}, macs: {max: 2e6}}}", "macs"),
        (BASIS + "base: {lr: [0.1", "not valid YAML"),
        ("- a\n- b", "mapping of sections, got list"),
        ("", "mapping of sections, got NoneType"),
        ("data: {dataset: digits}", "a section `network` or a section `search_space` says what is pruned"),
        ("search_space: {name: resnet20}\ndata: {root: x}", r"data\.dataset is missing"),
        (BASIS + "seed: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)


def test_unknown_experiments_and_missing_files_are_refused():
    with pytest.raises(UserError, match=r"'quickstrat'.*did you mean 'quickstart'"):
        load_experiment("quickstrat")
    with pytest.raises(UserError, match=r"nowhere/mine\.yaml: no such file"):
        load_experiment("nowhere/mine.yaml")


# --- the file that a run writes

fractions = st.floats(0, 1, exclude_min=True, exclude_max=True)
positive = st.floats(0, 1e300, exclude_min=True)
shares = st.integers(1, 100).map(lambda share: f"{share}%")
VALUES = {
    "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True),
    "seed": st.integers(0, 2**63),
    "data.root": TEXT,
    "data.validation": fractions | TEXT.filter(bool),
    "data.mean": st.none() | st.lists(st.floats(0, 1), max_size=3),
    "data.std": st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=3),
    "data.flip": st.booleans(),
    "search_space.width": st.none() | st.integers(1, 16384),
    "base.lr": positive | st.integers(1, 9),
    "base.weights": st.none() | TEXT,
    "evaluation.time_limit_s": st.none() | positive,
    "search.objectives": st.permutations(["accuracy", "macs", "params", "bandwidth", "latency"]).map(lambda p: p[:3]),
    "search.limits": st.fixed_dictionaries({"flops": st.fixed_dictionaries({"max": positive | shares | st.none()})}),
    "search.min_keep": fractions,
    "retrain.select": st.sampled_from(["all", "knees", {"count": 4}])
    | st.lists(st.text(max_size=8).filter(str.isprintable), min_size=1, max_size=3),
    "retrain.from": st.sampled_from(["inherited", "scratch"]),
    "retrain.distillation": st.none() | st.fixed_dictionaries({"weight": fractions, "temperature": positive}),
    "workers.num_workers": st.just("auto") | st.integers(1, 4096),
    "workers.address": st.none() | TEXT,
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_valid_experiment_is_the_same_again_from_its_file(data):
    document = {section: dict(value) if isinstance(value, dict) else value for section, value in MINIMAL.items()}
    for key in data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=6)):
        *section, last = key.split(".")
        place = document.setdefault(section[0], {}) if section else document
        place[last] = data.draw(VALUES[key], label=key)
    experiment = parse_experiment(document, "x")
    assert again(experiment) == experiment


@pytest.mark.parametrize("name", ["1e3", "12E05", "123", "null", "0x1F", "1_0", "yes", "2024-01-01"])
def test_a_name_that_looks_like_a_number_is_the_same_again(name):
    experiment = parse_experiment({**MINIMAL, "name": name}, "x")
    assert again(experiment).name == name


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["base.lr", "retrain.epochs", "search.min_keep", "seed"]), st.integers(1, 99))
def test_a_valid_override_means_what_it_says(key, number):
    value = number if key == "seed" else number / 100
    experiment = load_experiment("quickstart", [f"{key}={yaml.safe_dump(value).split()[0]}"])
    *section, last = key.split(".")
    assert getattr(getattr(experiment, section[0]) if section else experiment, last) == value
    assert again(experiment) == experiment


def test_identity_ignores_where_the_work_runs_and_nothing_that_is_measured(make_experiment):
    identity = make_experiment().identity()
    same = [
        {"workers": {"num_workers": 7}},
        {"retrain": {"epochs": 9}},
        {"report": {"every": 2}},
        {"base": {"cache": "x"}},
        {"data": {"cache": "x"}},
        {"data": {"root": "elsewhere"}},
    ]
    assert all(make_experiment(**changes).identity() == identity for changes in same)
    other = [
        {"seed": 1},
        {"evaluation": {"lr": 0.3}},
        {"data": {"crop": 2}},
        {"data": {"skip_corrupt": True}},
        {"search": {"objectives": ["flops", "params"]}},
    ]
    assert all(make_experiment(**changes).identity() != identity for changes in other)
