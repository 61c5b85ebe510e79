"""The README against the project: its snippet runs, its keys and its tree are those that are there."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from evoprune.config import Experiment
from evoprune.common.files import carried_files

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_snippet_that_reads_results_runs(make_experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from evoprune.cli import main

    monkeypatch.chdir(tmp_path)
    config = tmp_path / "quickstart.yaml"
    config.write_text(make_experiment(name="quickstart").to_yaml())
    assert main(["run", str(config)]) == 0
    capsys.readouterr()
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "read_csv" in block]
    exec(snippet, {})
    key, flops, test_accuracy, params = capsys.readouterr().out.splitlines()[-1].split()
    assert key.startswith("k") and int(flops) > 0 and 0 < float(test_accuracy) <= 100 and int(params) > 0


def test_snippet_of_the_python_interface_runs(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    (tmp_path / "resnet20.pt").write_bytes((pretrained / "resnet20_cifar10_option_a.pt").read_bytes())
    monkeypatch.chdir(tmp_path)
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "slim_network" in block]
    exec(snippet, {})
    printed = capsys.readouterr().out
    assert printed.startswith("464 k") and "'layer1.0.middle': 4" in printed and "40813184" in printed


def test_every_key_of_the_experiment_file_is_explained():
    table = README.split("## The experiment file")[1].split("### Your own data")[0]
    for section, keys in _keys().items():
        if section:
            assert f"**`{section}`**" in table
        for key in keys:
            assert f"`{key}`" in table, f"{section}.{key}"


def test_tree_names_every_file_that_is_there_and_no_other():
    tree = README.split("## The tree")[1]
    named = set(re.findall(r"^ *(\S+)", tree.split("```")[1], re.M))
    modules = {str(path.relative_to(ROOT / "evoprune")) for path in (ROOT / "evoprune").rglob("*.py")}
    wanted = {module for module in modules if not module.endswith("__init__.py")}
    carried = {f"experiments/{name}.yaml" for name in carried_files("experiments")}
    benchmarks = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert wanted | carried | benchmarks <= named
    assert {name for name in named if name.endswith(".py") and "/" not in name} <= modules


def _keys() -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {"": []}
    for name, field in Experiment.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys[name] = [sub.alias or key for key, sub in field.annotation.model_fields.items()]
        else:
            keys[""].append(name)
    return keys
