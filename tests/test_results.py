"""What a run has found stays found: without its models, without its data, after a refused command."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evoprune.cli import main


@pytest.fixture
def run(make_experiment: Any, tmp_path: Path) -> Path:
    """A finished run, two networks of its front fully trained."""
    config = tmp_path / "tiny.yaml"
    config.write_text(make_experiment().to_yaml())
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def test_a_report_without_models_keeps_what_output_says(run: Path):
    before = (run / "output.csv").read_text()
    shutil.rmtree(run / "models")
    assert main(["report", str(run)]) == 0
    assert (run / "output.csv").read_text() == before


def test_a_report_needs_no_data(run: Path, tmp_path: Path, make_experiment: Any):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("dataset: digits", "dataset: npz"))
    table = (run / "table.md").read_text()
    assert main(["report", str(run)]) == 0
    assert (run / "table.md").read_text() == table


def test_number_of_seeds_is_a_whole_number_in_every_row(run: Path):
    front = pd.read_csv(run / "output.csv")
    assert front.num_seeds.dtype == "int64"
    assert (front.num_seeds == front.test_accuracy.notna()).all()


def test_a_refused_selection_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]):
    before = (run / "config.yaml").read_text()
    assert main(["retrain", str(run), "--set", "retrain.select=[kzzz]"]) == 2
    assert "retrain.select: kzzz is not on the front" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == before
