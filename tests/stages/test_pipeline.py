"""Commands as sequences of stages: what each leaves in the folder of a run, in which order, and what it loads."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import refusal, write_experiment

from evoprune import UserError
from evoprune.common.errors import IncompleteError
from evoprune.runs.folder import RunFolder
from evoprune.stages import pipeline
from evoprune.stages.context import Context
from evoprune.stages.pipeline import Request


def names(path: Path) -> set[str]:
    return {file.name for file in path.iterdir() if file.name != ".lock"}


BEGINNING = {"config.yaml", "run.json", "base", "importance"}
SEARCHED = {*BEGINNING, "reports.csv", "output.csv"}
REPORTED = {*SEARCHED, "front.png", "hypervolume.png", "hypervolume.csv", "report.html", "table.md"}


@pytest.fixture
def request_(tmp_path: Path, cache: Path):
    """A request of the tiny experiment, with changes."""

    def make(**changes) -> Request:
        file = write_experiment(tmp_path, base={"cache": str(cache)}, **changes)
        return Request(file, (), tmp_path / "run")

    return make


def test_a_run_is_its_stages_one_after_the_other(ran):
    assert names(ran) == {*REPORTED, "models"}
    facts = json.loads((ran / "run.json").read_text())
    assert list(facts["seconds"]) == ["base", "moments", "importance.magnitude", "search", "retrain"]


def test_each_command_leaves_what_its_stages_leave(request_, tmp_path):
    request, run = request_(retrain={"epochs": 0.1}), tmp_path / "run"
    pipeline.sensitivity(request, "magnitude", 20)
    assert names(run) == {*BEGINNING, "sensitivity"}
    pipeline.prune(request, "magnitude", {"rate": "0.5", "flops": None, "max_loss": None}, 1)
    assert names(run) == {*BEGINNING, "sensitivity", "pruned"}
    pipeline.search(request)
    assert names(run) == {*SEARCHED, "sensitivity", "pruned"}
    pipeline.report(run, ())
    assert names(run) == {*REPORTED, "sensitivity", "pruned"}
    pipeline.retrain(run, ())
    assert names(run) == {*REPORTED, "sensitivity", "pruned", "models"}
    before = {file: file.stat().st_mtime_ns for file in run.rglob("model.safetensors")}
    pipeline.run(request)
    assert {file: file.stat().st_mtime_ns for file in run.rglob("model.safetensors")} == before, "all is done"


def test_validate_leaves_nothing(request_, tmp_path, capsys):
    pipeline.validate(request_())
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out.splitlines()[:2] == ["tiny: valid", "code: 116 bits in 13 segments of resnet20"]


def test_validate_warns_where_a_run_would_be_refused_its_folder(ran, capsys):
    def warning(*overrides: str) -> str:
        pipeline.validate(Request(str(ran / "config.yaml"), overrides, ran))
        return capsys.readouterr().out.partition("warning: ")[2]

    assert warning() == ""
    assert "`evoprune run` would be refused: " in (other := warning("evaluation.recalibration_images=8"))
    assert "belongs to another experiment (evaluation.recalibration_images: " in other
    assert "search.generations: got 0, but" in warning("search.generations=0")


def test_what_cannot_be_trained_is_reported_all_the_same(request_, tmp_path, capsys):
    with pytest.raises(IncompleteError, match="2 of 2 trainings"):
        pipeline.run(request_(retrain={"lr": 1e30}))
    assert names(tmp_path / "run") == REPORTED
    assert "base network" in (tmp_path / "run" / "table.md").read_text()
    assert "base network" in capsys.readouterr().out.split("search: 8/8")[1], "a table for the terminal"


def test_a_front_without_what_is_wanted_is_reported_all_the_same(request_, tmp_path):
    with pytest.raises(UserError, match="no network of the front has at most 5,200 multiply-adds"):
        pipeline.run(request_(retrain={"select": {"max": {"flops": 5200}}}))
    assert names(tmp_path / "run") == REPORTED


def test_a_corrected_experiment_takes_over_a_folder_without_results(request_, tmp_path):
    with pytest.raises(UserError, match=r"data\.validation"):
        pipeline.run(request_(data={"validation": "own"}))
    pipeline.search(request_())
    assert (tmp_path / "run" / "output.csv").is_file()


def test_overrides_reach_the_experiment(request_, tmp_path):
    request = request_()
    overrides = ["search.generations=0", "search.random_samples=2", "name=other"]
    pipeline.search(Request(request.file, overrides, request.out))
    assert len(pd.read_csv(tmp_path / "run" / "reports.csv")) == 2
    assert "name: other" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("importances", "computed"), [(None, {"magnitude"}), ((), set()), (("magnitude",), {"magnitude"})]
)
def test_prepare_computes_the_importances_that_are_wanted(tiny, tmp_path, importances, computed):
    pipeline.prepare(Context(tiny(), RunFolder(tmp_path)), importances)
    assert {path.stem for path in tmp_path.glob("importance/*.csv") if "layers" not in path.stem} == computed
    assert (tmp_path / "base" / "model.json").is_file()


@pytest.mark.parametrize("command", [pipeline.report, pipeline.retrain])
def test_a_folder_without_a_config_is_no_run(tmp_path, command):
    with pytest.raises(UserError, match=r"not the folder of a run; it has no config\.yaml"):
        command(tmp_path, ())


def test_commands_are_at_hand_without_torch():
    script = "import sys, evoprune.stages.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "ray", "pymoo", "matplotlib"}


def test_validate_fails_where_every_candidate_would(tmp_path, capsys):
    file = write_experiment(tmp_path, evaluation={"time_limit_s": 1e-9})
    assert "a candidate failed: TrainingError: the time limit has passed" in refusal(capsys, "validate", file)
