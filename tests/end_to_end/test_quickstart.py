"""The quickstart keeps the README's promises, with its own numbers."""

import json
from pathlib import Path

import pandas as pd
import pytest

from evoprune.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart as it is, run once."""
    work = tmp_path_factory.mktemp("quickstart")
    assert main(["run", "quickstart", "--out", str(work / "run"), "--set", f"base.cache={work / 'base'}"]) == 0
    return work / "run"


def test_base_network_is_right_on_97_percent_of_held_out_digits(run: Path):
    assert json.loads((run / "run.json").read_text())["base"]["test_accuracy"] >= 97


def test_front_has_a_network_at_half_the_flops_that_loses_less_than_a_point_and_a_half(run: Path):
    base = json.loads((run / "run.json").read_text())["base"]["test_accuracy"]
    full = pd.read_csv(run / "reports.csv").flops[0]
    front = pd.read_csv(run / "output.csv").dropna(subset="test_accuracy")
    half = front[front.flops <= 0.5 * full]
    assert len(half) and half.test_accuracy.max() > base - 1.5


def test_every_file_of_a_run_is_there(run: Path):
    names = {path.name for path in run.iterdir()}
    wanted = {
        "config.yaml",
        "run.json",
        "reports.csv",
        "output.csv",
        "table.md",
        "front.png",
        "hypervolume.png",
        "models",
    }
    assert wanted <= names


def test_second_call_measures_nothing_again(run: Path):
    before = {name: (run / name).read_bytes() for name in ("reports.csv", "output.csv")}
    assert main(["run", str(run / "config.yaml"), "--out", str(run)]) == 0
    assert {name: (run / name).read_bytes() for name in before} == before
