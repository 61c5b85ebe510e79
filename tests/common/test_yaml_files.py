"""YAML as people write it, and the same again as it is written."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import ALIAS_BOMB

from evoprune import UserError
from evoprune.common.yaml_files import format_yaml, parse_yaml, read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
DOCUMENTS = st.recursive(
    SCALARS | st.from_regex(r"[-+]?[0-9]{0,2}\.?[0-9]{0,2}[eE][-+]?[0-9]{1,2}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@settings(max_examples=50, deadline=None)
@given(DOCUMENTS)
def test_what_is_written_is_read_as_the_same_plain_types(document):
    again = parse_yaml(format_yaml(document), "x")
    assert again == document and repr(again) == repr(document)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 0.0001), ("20e6", 2e7), ("+5E2", 500.0), (".5e1", 5.0), ("3", 3), ("3.", 3.0), ("'1e3'", "1e3")],
)
def test_numbers_are_read_as_people_write_them(text, value):
    read = parse_yaml(text, "x")
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["e3", "1e", "1e3x", "1e3.5", "h1e3", "1_e3", "010", "-07", "1:30", "1:30.5"])
def test_what_only_looks_like_a_number_is_text(text):
    assert parse_yaml(text, "x") == text
    assert parse_yaml(format_yaml({"key": text}), "x") == {"key": text}


def test_keys_stand_in_the_order_in_which_they_were_written():
    document = {"z": 1, "a": {"y": math.inf, "b": None}}
    assert list(parse_yaml(format_yaml(document), "x")) == ["z", "a"]
    assert format_yaml(document) == "z: 1\na:\n  y: .inf\n  b: null\n"


def test_a_mapping_may_have_the_keys_of_another_one():
    text = "base: &a {epochs: 3, lr: 0.1}\nretrain: {<<: *a, lr: 0.05}"
    assert parse_yaml(text, "x")["retrain"] == {"epochs": 3, "lr": 0.05}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x {b: 1}\nc: {<<: *x, d: 1, d: 2}", "key 'd' stands twice"),
        ("a: 1\nb: 2\na: 3", "key 'a' stands twice"),
        ("x: {b: {a: 1, a: 1}}", "key 'a' stands twice"),
        ("a: [1", "not valid YAML"),
        ('a: "\\U00110000"', "not valid YAML"),  # beyond Unicode
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_what_is_ambiguous_or_no_yaml_is_refused_by_its_source(text, message):
    with pytest.raises(UserError, match=f"mine: .*{message}"):
        parse_yaml(text, "mine")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "good.yaml").write_text("name: ä\n", encoding="utf-8")
    (tmp_path / "latin.yaml").write_bytes("name: ä\n".encode("latin-1"))
    assert read_yaml(tmp_path / "good.yaml") == {"name": "ä"}
    for name, message in (("no.yaml", "no such file"), ("latin.yaml", "cannot be read"), ("", "cannot be read")):
        with pytest.raises(UserError, match=f"{tmp_path / name}: {message}"):
            read_yaml(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 5000, "nested too deeply"),
        (ALIAS_BOMB, "more than 200,000 values"),
        ("a: &a [*a]", "an alias of what it stands in"),
        ('a: "\\ud800"', "a character that no text has"),
        ("a: " + "9" * 5000, "digits"),
        ("a: !!timestamp 2001-99-99", "month"),
        ("a: !!timestamp x", "line 1"),
    ],
)
def test_what_nobody_writes_is_refused_at_once(text, reason):
    started = time.process_time()
    with pytest.raises(UserError, match=f"x: not valid YAML[^§]*{reason}"):
        parse_yaml(text, "x")
    assert time.process_time() - started < 10


def test_dates_are_text():
    assert parse_yaml("[2001-01-01, 2001-99-99]", "x") == ["2001-01-01", "2001-99-99"]


def test_a_file_without_end_is_not_read(tmp_path):
    (tmp_path / "big.yaml").write_text("a" * 1_000_001)
    with pytest.raises(UserError, match=r"big\.yaml: is larger than 1,000,000 bytes"):
        read_yaml(tmp_path / "big.yaml")
