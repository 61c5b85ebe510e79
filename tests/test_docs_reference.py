"""The pages that are made from the code: the experiment file's keys, the architecture's tree and table."""

import re
import runpy
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from helpers import ROOT
from pydantic import BaseModel
from test_docs import TREES, blocks, text_of
from test_layering import DOORS, IMPORTS

from evoprune.config import Experiment

# The experiment file.


def experiment_page() -> str:
    return runpy.run_path(str(ROOT / "docs" / "make_experiment.py"))["experiment_page"]()


def test_experiment_page_is_written_from_the_sections():
    assert text_of(ROOT / "docs" / "experiment.md") == experiment_page(), "run: python docs/make_experiment.py"


def test_every_key_of_the_experiment_file_is_explained_with_all_its_choices():
    parts = dict(re.findall(r"^##+ `?([\w. ]+)`?\n(.*?)(?=^##|\Z)", experiment_page(), re.M | re.S))
    training, num_keys = parts["The keys of a training"], 0
    for path, key, annotation in keys(Experiment):
        rows = (parts[path] if path else parts["The top level"]) + training
        (row, *_) = re.findall(rf"^\| `{key}` \|.*$", rows, re.M)
        for choice in choices(annotation):
            assert f"`{choice}`" in row, f"{path}.{key}: {choice}"
        num_keys += 1
    assert num_keys == 106


def keys(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Section, key and type of every key of the file, those of sections inside sections too."""
    for name, field in section.model_fields.items():
        key = field.alias or name
        inner = [kind for kind in kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if path or not inner:
            yield path, key, field.annotation
        for kind in inner:
            yield from keys(kind, f"{path}.{key}" if path else key)


def choices(annotation: Any) -> Iterator[str]:
    """Words that a key may be."""
    for kind in kinds(annotation):
        if get_origin(kind) is Literal:
            yield from get_args(kind)


def kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from kinds(inner)


# The architecture.


ARCHITECTURE = ROOT / "docs" / "architecture.md"


def tree() -> dict[str, str]:
    """Path and description of each line of the tree; folders end with a slash."""
    (text,) = [text for language, text in blocks(ARCHITECTURE) if not language]
    folders: list[str] = []
    lines = {}
    for line in text.splitlines():
        indent, name, description = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()
        folders = folders[: len(indent) // 2]
        lines["".join(folders) + name] = description
        if name.endswith("/"):
            folders.append(name)
    return lines


def test_tree_names_every_file_that_is_there_and_no_other():
    files = {name for name in tree() if not name.endswith("/")}
    there = {str(path.relative_to(ROOT)) for folder in TREES for path in (ROOT / folder).rglob("*") if path.is_file()}
    there = {name for name in there if name.endswith((".py", ".yaml", ".sh"))}
    there |= {"docs/conf.py", "docs/make_experiment.py"}
    assert {name for name in there if not name.endswith("__init__.py")} <= files
    assert files <= there
    assert len(files) == len(re.findall(r"^ +\S+\.(?:py|yaml|sh)\b", "".join(b for _, b in blocks(ARCHITECTURE)), re.M))


def test_tree_says_something_of_every_file():
    assert all(text for name, text in tree().items() if not name.endswith("/"))


def test_import_table_is_that_of_the_test():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", text_of(ARCHITECTURE).split("## Who may import whom")[1], re.M)
    table = {folder: set(re.findall(r"`(\w+)`", allowed)) for folder, allowed in rows}
    assert table == {folder: set(allowed.split()) for folder, allowed in IMPORTS.items()}


def test_doors_of_third_parties_are_named():
    for door in DOORS.values():
        assert f"`{door}/`" in text_of(ARCHITECTURE) or f"`evoprune/{door}`" in text_of(ARCHITECTURE), door


# Operations.


def test_every_promise_names_tests_that_hold_it():
    (part,) = re.findall(r"^## What is promised\n(.*?)(?=^## )", text_of(ROOT / "docs" / "operations.md"), re.M | re.S)
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    for promise, tests in rows:
        names = re.findall(r"`([^`]+)`", tests)
        assert names, promise
        for name in names:
            assert "\ndef test_" in text_of(ROOT / name), f"{promise}: {name}"


def test_every_stage_whose_time_is_noted_is_named():
    code = "".join(text_of(path) for path in (ROOT / "evoprune" / "stages").glob("*.py"))
    stages = {name.split(".{")[0] for name in re.findall(r'timed_stage\([\w.]+, f?"(.+?)"\)', code)}
    (row,) = re.findall(r"^\| `seconds` \| of each stage .*$", text_of(ROOT / "docs" / "files.md"), re.M)
    assert {"base", "prune", "transform", "search.weights"} <= stages <= set(re.findall(r"`([\w.]+?)(?:\.NAME)?`", row))
