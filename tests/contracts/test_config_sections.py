"""One contract for every section of an experiment's file.

Names what it tests: evoprune.config.base, evoprune.config.data, evoprune.config.evaluation, evoprune.config.experiment,
evoprune.config.importance, evoprune.config.network, evoprune.config.report, evoprune.config.retrain,
evoprune.config.search, evoprune.config.search_space, evoprune.config.section, evoprune.config.training,
evoprune.config.weights, evoprune.config.workers.
"""

import copy
import importlib
import pkgutil
import re
from typing import Any, get_args

import pytest
from config_values import KEYS, TOGETHER
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import evoprune.config
from evoprune import UserError
from evoprune.common.yaml_files import format_yaml, parse_yaml
from evoprune.config import parse_experiment
from evoprune.config.section import Section

PLACES = {
    "": "Experiment",
    "data": "DataConfig",
    "network": "NetworkConfig",
    "search_space": "SearchSpaceConfig",
    "base": "BaseConfig",
    "evaluation": "EvaluationConfig",
    "evaluation.ladder.0": "RungConfig",
    "importance": "ImportanceConfig",
    "importance.scop": "ScopConfig",
    "search": "SearchConfig",
    "search.limits.flops": "LimitConfig",
    "retrain": "RetrainConfig",
    "retrain.distillation": "DistillationConfig",
    "weights": "WeightsConfig",
    "workers": "WorkersConfig",
    "report": "ReportConfig",
}
"""Where each section stands in the file."""
ELSEWHERE = {"Section", "TrainingConfig", "CountSelection", "MaxSelection"}
"""What others inherit from, and what is told apart by `retrain.select` itself."""

REQUIRED: dict[str, dict[str, Any]] = {
    "Experiment": {"name": "mine", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}},
    "DataConfig": {"dataset": "digits"},
    "NetworkConfig": {"source": "torchvision:resnet18"},
    "SearchSpaceConfig": {"name": "resnet20"},
    "RungConfig": {"epochs": 0, "promote": 0.5},
    "CountSelection": {"count": 3},
    "MaxSelection": {"max": {"flops": [3e7, "15%"]}},
}
"""What a section does not begin without."""


def find_sections() -> dict[str, type[Section]]:
    """Every section class of the package, by its name."""
    for module in pkgutil.iter_modules(evoprune.config.__path__, "evoprune.config."):
        importlib.import_module(module.name)
    found, rest = {"Section": Section}, [Section]
    while rest:
        below = rest.pop().__subclasses__()
        found |= {cls.__name__: cls for cls in below}
        rest += below
    return found


SECTIONS = find_sections()
every_section = pytest.mark.parametrize("name", sorted(set(SECTIONS) - {"Section"}))
every_place = pytest.mark.parametrize("place", PLACES)


def keys_of(section: type[Section]) -> dict[str, Any]:
    """Fields of a section by their key in the file."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def is_section(field: Any) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def plain(section: Section) -> dict[str, Any]:
    """As it stands in a file."""
    return section.model_dump(mode="json", by_alias=True)


def document_with(place: str, **keys: Any) -> dict[str, Any]:
    """The smallest experiment, with keys of one section added."""
    document = copy.deepcopy(REQUIRED["Experiment"])
    if place == "evaluation.ladder.0":
        document["evaluation"] = {"epochs": 1, "ladder": [{"epochs": 0, "promote": 0.5, **keys}]}
        return document
    if place == "network":  # in place of a search space
        del document["search_space"]
        document["network"] = dict(REQUIRED["NetworkConfig"])
    inner = document
    for part in filter(None, place.split(".")):
        inner = inner.setdefault(part, {})
    inner.update(keys)
    return document


# --- the contract


def test_one_of_two_sections_says_what_is_pruned():
    document = {key: value for key, value in REQUIRED["Experiment"].items() if key != "search_space"}
    with pytest.raises(UserError, match="x: a section `network` or a section `search_space`"):
        parse_experiment(document, "x")
    network = REQUIRED["NetworkConfig"]
    assert parse_experiment({**document, "network": network}, "x").network.source == network["source"]
    with pytest.raises(UserError, match="both only where"):
        parse_experiment({**REQUIRED["Experiment"], "network": network}, "x")
    both = {**network, "weights": "a.pt"}
    assert parse_experiment({**document, "network": both}, "x").base_weights == "a.pt"
    with pytest.raises(UserError, match=r"network\.weights or base\.weights, not both"):
        parse_experiment({**document, "network": both, "base": {"weights": "b.pt"}}, "x")


def test_this_contract_knows_every_section():
    assert set(SECTIONS) == set(PLACES.values()) | ELSEWHERE
    assert set(KEYS) == set(SECTIONS) - {"Section"}
    for name, strategies in KEYS.items():
        together = {"ladder"} if name == "EvaluationConfig" else set()
        inner = {key for key, field in keys_of(SECTIONS[name]).items() if is_section(field)}
        assert set(strategies) | together == set(keys_of(SECTIONS[name])) - inner | {"scop"} & inner, name


@every_section
def test_a_docstring_stands_below_every_key_and_below_the_class(name):
    section = SECTIONS[name]
    assert section.__doc__ and section.__doc__.rstrip().endswith(".")
    for key, field in keys_of(section).items():
        if not (name == "Experiment" and is_section(field)):  # a section is described by its class
            assert field.description and field.description.rstrip().endswith("."), f"{name}.{key}"


@every_section
def test_words_that_a_key_may_be_stand_in_its_docstring(name):
    for key, field in keys_of(SECTIONS[name]).items():
        words = [word for word in get_args(field.annotation) if isinstance(word, str) and word != "auto"]
        assert [word for word in words if f"`{word}`" not in field.description] == [], f"{name}.{key}"


@every_section
def test_defaults_are_right_themselves_and_no_less_strictly(name):
    """pydantic takes a default as it is."""
    section, required = SECTIONS[name], REQUIRED.get(name, {})
    bare = section.model_validate(required)
    assert section.model_validate(plain(bare)) == bare
    for key, field in keys_of(section).items():
        if not field.is_required() and not is_section(field):
            assert section.model_validate({**required, key: plain(bare)[key]}) == bare, key


@every_section
def test_what_has_no_default_is_asked_for(name):
    required = {key: value for key, value in REQUIRED.get(name, {}).items() if key != "search_space"}
    assert {key for key, field in keys_of(SECTIONS[name]).items() if field.is_required()} == set(required)
    for key in required:
        with pytest.raises(ValidationError, match=rf"{key}\s+Field required"):
            SECTIONS[name].model_validate({other: value for other, value in required.items() if other != key})


@every_section
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_section_is_the_same_again_from_its_file(name, data):
    optional = {key: value for key, value in KEYS[name].items() if key not in REQUIRED.get(name, {})}
    required = {key: KEYS[name].get(key, st.just(value)) for key, value in REQUIRED.get(name, {}).items()}
    values = data.draw(st.fixed_dictionaries(required, optional=optional))
    values |= data.draw(TOGETHER.get(name, st.just({})))
    section = SECTIONS[name].model_validate(values)
    again = SECTIONS[name].model_validate(parse_yaml(format_yaml(plain(section)), "x"))
    assert again == section
    assert again.model_fields_set >= section.model_fields_set


@every_place
def test_an_unknown_key_is_named_with_all_that_are_allowed(place):
    keys = ", ".join(sorted(keys_of(SECTIONS[PLACES[place]])))
    path = f"{place}.zzz" if place else "zzz"
    with pytest.raises(UserError) as caught:
        parse_experiment(document_with(place, zzz=1), "mine.yaml")
    assert str(caught.value) == f"mine.yaml: unknown key {path}; allowed: {keys}"


@every_place
def test_a_misspelt_key_is_told_the_right_one(place):
    for key in keys_of(SECTIONS[PLACES[place]]):
        with pytest.raises(UserError, match=rf"unknown key .*\b{key}_; did you mean '{key}'\?"):
            parse_experiment(document_with(place, **{f"{key}_": 1}), "x")


@every_place
@settings(max_examples=20, deadline=None)
@given(key=st.text(max_size=8) | st.sampled_from(["int", "float", "str", "[key]", "tuple[", "model_config", "__doc__"]))
def test_no_other_key_is_taken_whatever_its_name(place, key):
    aliases = {"num_generation"} if place == "search" else set()
    if key in {*keys_of(SECTIONS[PLACES[place]]), *aliases}:
        return
    path = f"{place}.{key}" if place else key
    with pytest.raises(UserError, match=re.escape(f"unknown key {path}; ")):
        parse_experiment(document_with(place, **{key: 1}), "x")


WORD = st.text("abc_.[]0 ", max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORD | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD | st.integers(), inner, max_size=3),
    max_leaves=4,
)
"""Whatever YAML can hold."""


@every_place
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_stands_at_a_key_is_refused_by_its_path_or_can_be_written_again(place, data):
    key = data.draw(st.sampled_from(sorted(keys_of(SECTIONS[PLACES[place]]))))
    document = document_with(place, **{key: data.draw(ANYTHING)})
    try:
        experiment = parse_experiment(document, "x")
    except UserError as error:
        named = rf"x: (unknown key )?{re.escape(place.removesuffix('.0'))}.*{key}|x: and [\d,]+ more$"
        assert all(re.match(named, line) for line in str(error).splitlines())
    else:
        assert parse_experiment(parse_yaml(experiment.to_yaml(), "x"), "x") == experiment


@every_section
def test_not_a_number_is_no_value(name):
    for key in keys_of(SECTIONS[name]):
        for value in (float("nan"), float("inf"), float("-inf")):
            with pytest.raises(ValidationError):
                SECTIONS[name].model_validate({**REQUIRED.get(name, {}), key: value})


@every_section
def test_a_section_is_frozen(name):
    section = SECTIONS[name].model_validate(REQUIRED.get(name, {}))
    for field in type(section).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, field, getattr(section, field))
