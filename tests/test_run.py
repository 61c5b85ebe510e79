"""Whole small runs on real digits: the same result whatever happens on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import TINY, merge, repeated, run_search

from evoprune import UserError
from evoprune.config import Experiment
from evoprune.runs.folder import open_run_folder
from evoprune.stages.context import prepare

LOCK_HOLDER = """
import sys
from pathlib import Path
from evoprune.config import load_experiment
from evoprune.runs.folder import open_run_folder
with open_run_folder(Path(sys.argv[1]), load_experiment(sys.argv[1] + "/config.yaml")):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search in this process; tests copy it before they change anything."""
    return run_search(tiny(), tmp_path_factory.mktemp("runs") / "searched")


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "copied"))


def run_retrain(experiment: Experiment, path: Path) -> pd.DataFrame:
    from evoprune.stages.retrain import retrain

    with open_run_folder(path, experiment) as folder:
        retrain(prepare(experiment, folder), folder)
    return pd.read_csv(path / "output.csv")


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def dominated(row: pd.Series, rows: pd.DataFrame) -> bool:
    as_good = (rows.accuracy >= row.accuracy) & (rows.flops <= row.flops)
    better = (rows.accuracy > row.accuracy) | (rows.flops < row.flops)
    return bool((as_good & better).any())


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ray_workers_measure_what_this_process_measures(tiny, searched, tmp_path, num_workers):
    experiment = tiny(workers={"backend": "ray", "num_workers": num_workers})
    path = run_search(experiment, tmp_path / "ray")
    assert repeated(path) == repeated(searched)
    assert set(pd.read_csv(path / "reports.csv").worker) == {f"ray-{i}" for i in range(num_workers)}
    facts = json.loads((path / "run.json").read_text())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else facts["hardware"]["cpu"]
    assert facts["workers"] == [{"device": device, "precision": "fp32", "threads": 1, "workers": num_workers}]


def test_output_is_exactly_the_non_dominated_rows(searched):
    reports, output = pd.read_csv(searched / "reports.csv"), pd.read_csv(searched / "output.csv")
    assert (len(reports), reports.id.tolist()) == (8, list(range(8)))
    wanted = {row.key for _, row in reports.iterrows() if not dominated(row, reports)}
    assert sorted(output.key) == sorted(wanted)


@pytest.mark.parametrize(("kept", "torn"), [(0, False), (1, True), (3, False), (3, True), (6, True)])
def test_a_search_goes_on_from_any_row(tiny, searched, copied, kept, torn):
    lines = (searched / "reports.csv").read_text().splitlines(keepends=True)
    column = lines[0].split(",").index("seconds")
    for number in range(1, kept + 1):
        cells = lines[number].split(",")
        cells[column] = f"{1000.0 + number}"
        lines[number] = ",".join(cells)
    rest = lines[kept + 1][: len(lines[kept + 1]) // 2] if torn else ""
    (copied / "reports.csv").write_text("".join(lines[: kept + 1]) + rest)
    (copied / "output.csv").unlink()
    run_search(tiny(), copied)
    assert repeated(copied) == repeated(searched)
    assert repeated(copied, "output.csv") == repeated(searched, "output.csv")
    seconds = pd.read_csv(copied / "reports.csv").seconds
    assert seconds[:kept].tolist() == [1001.0 + number for number in range(kept)], "measured again"
    assert (seconds[kept:] < 1000).all()


def test_a_finished_search_that_runs_again_changes_nothing(tiny, searched, copied):
    run_search(tiny(), copied)
    assert (copied / "reports.csv").read_bytes() == (searched / "reports.csv").read_bytes()


def num_rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def kill_in_mid_search(command: list[str], reports: Path) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while num_rows(reports) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "the run ended before it could be killed"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_run_ends_as_if_it_had_not_been_killed(tiny, cache, tmp_path):
    changes = {
        "base": {"cache": str(cache)},
        "evaluation": {"epochs": 1.0},
        "search": {"num_individual": 4, "generations": 3},
    }
    file = tmp_path / "killed.yaml"
    file.write_text(yaml.safe_dump(merge(TINY, changes)))
    prepare_cache(tiny(), tmp_path)
    commands = {
        name: [sys.executable, "-m", "evoprune.cli", "run", str(file), "--out", str(tmp_path / name)]
        for name in ("killed", "whole")
    }
    kill_in_mid_search(commands["killed"], tmp_path / "killed" / "reports.csv")
    assert 2 <= num_rows(tmp_path / "killed" / "reports.csv") < 16
    for command in commands.values():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for table in ("reports.csv", "output.csv"):
        assert repeated(tmp_path / "killed", table) == repeated(tmp_path / "whole", table)
    assert num_rows(tmp_path / "whole" / "reports.csv") == 16


def prepare_cache(experiment: Experiment, tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "prepared", experiment) as folder:
        prepare(experiment, folder)


def test_the_folder_of_another_experiment_is_refused(tiny, copied):
    before = snapshot(copied)
    with pytest.raises(UserError, match=r"seed: 0 there, 1 here"):
        run_search(tiny(seed=1), copied)
    assert snapshot(copied) == before


def test_other_workers_are_not_another_experiment(tiny, copied):
    experiment = tiny(workers={"backend": "local", "num_workers": 7})
    with open_run_folder(copied, experiment) as folder:
        assert "num_workers: 7" in folder.config.read_text()


def test_a_foreign_folder_is_refused(tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"notes\.txt"):
        run_search(tiny(), tmp_path)
    assert snapshot(tmp_path) == before


def test_two_processes_never_share_a_folder(tiny, copied):
    before = snapshot(copied)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(copied)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == b"locked"
        with pytest.raises(UserError, match="another process"):
            run_search(tiny(), copied)
    finally:
        holder.communicate(b"")
    assert snapshot(copied) == before
    run_search(tiny(), copied)


def test_the_base_network_is_trained_once_for_all_runs(tiny, cache, searched, tmp_path, capsys):
    weights = list(cache.glob("*/model.safetensors"))
    times = [file.stat().st_mtime_ns for file in weights]
    prepare_cache(tiny(search={"generations": 0}), tmp_path)
    assert "base network" not in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in weights] == times
    ours = (tmp_path / "prepared" / "base" / "model.safetensors").read_bytes()
    assert ours in [file.read_bytes() for file in weights]
    assert ours == (searched / "base" / "model.safetensors").read_bytes()


def test_a_base_folder_that_was_not_finished_is_made_again(tiny, searched, tmp_path):
    (tmp_path / "run" / "base").mkdir(parents=True)
    shutil.copy(searched / "config.yaml", tmp_path / "run")
    shutil.copy(searched / "base" / "model.safetensors", tmp_path / "run" / "base")
    with open_run_folder(tmp_path / "run", tiny()) as folder:
        assert prepare(tiny(), folder).base.info["validation_accuracy"] > 10


def test_base_weights_from_elsewhere_warn(tiny, searched, tmp_path, capsys):
    weights = str(searched / "base")
    path = run_search(tiny(base={"weights": weights}, search={"generations": 0}), tmp_path / "imported")
    assert f"warning: {weights} was trained elsewhere" in capsys.readouterr().out
    facts = json.loads((path / "run.json").read_text())["base"]
    own = json.loads((searched / "run.json").read_text())["base"]
    assert len(facts["warnings"]) == 1 and "warnings" not in own
    assert facts["validation_accuracy"] == own["validation_accuracy"]


def test_limits_hold_for_all_but_the_full_network(tiny, tmp_path):
    path = run_search(tiny(search={"limits": {"flops": {"max": "50%"}}}), tmp_path / "limited")
    reports, output = pd.read_csv(path / "reports.csv"), pd.read_csv(path / "output.csv")
    full, others = reports.iloc[0], reports.iloc[1:]
    assert (full.proposal, full.status) == ("full", "infeasible")
    assert (others.flops <= 0.5 * full.flops).all() and (others.status == "ok").all()
    assert full.key not in set(output.key) and len(output) > 0


def test_a_search_without_one_success_says_so(tiny, tmp_path):
    failing = tiny(evaluation={"time_limit_s": 1e-9}, search={"generations": 0})
    with pytest.raises(UserError, match="no candidate succeeded"):
        run_search(failing, tmp_path / "failing")
    reports = pd.read_csv(tmp_path / "failing" / "reports.csv")
    assert set(reports.status) == {"failed"} and reports.error.str.contains("time limit").all()


def test_a_checkpoint_of_other_settings_is_not_continued(tiny, copied, tmp_path):
    first, second = tiny(retrain={"lr": 0.3, "epochs": 2.0}), tiny(retrain={"lr": 0.01, "epochs": 2.0})
    fresh = run_retrain(second, Path(shutil.copytree(copied, tmp_path / "fresh")))
    for key in fresh.dropna(subset="model").key:
        leave_checkpoint(first, copied, key)
    again = run_retrain(second, copied)
    assert again.test_accuracy.dropna().tolist() == fresh.test_accuracy.dropna().tolist()
    for path in sorted((tmp_path / "fresh" / "models").glob("*/model.safetensors")):
        twin = copied / "models" / path.parent.name / path.name
        assert path.read_bytes() == twin.read_bytes(), "went on from a checkpoint of another recipe"


def leave_checkpoint(experiment: Experiment, run: Path, key: str) -> None:
    """What an interrupted full training with the settings of `experiment` leaves behind: one epoch of a checkpoint."""
    from evoprune.evaluation.training_job import Task
    from evoprune.stages.retrain import _job_factory

    with open_run_folder(run, experiment) as folder:
        setting = prepare(experiment, folder)
    reports = pd.read_csv(run / "reports.csv")
    code = reports.code[reports.key == key].item()
    checkpoint = folder.model(key) / "training.ckpt"
    next(_job_factory(setting)()(Task(key, code, 0, str(checkpoint))))
    assert checkpoint.is_file()
