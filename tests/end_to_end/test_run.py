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
from helpers import TINY, merge, on_one_core, prepared, repeated, run_search

from evoprune.cli import main
from evoprune.config import Experiment
from evoprune.runs.ownership import open_run_folder


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search in this process; tests copy it before they change anything."""
    return run_search(tiny(), tmp_path_factory.mktemp("runs") / "searched")


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "copied"))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ray_workers_measure_what_this_process_measures(tiny, searched, tmp_path, num_workers):
    experiment = tiny(workers={"backend": "ray", "num_workers": num_workers})
    path = run_search(experiment, tmp_path / "ray")
    assert repeated(path) == repeated(searched)
    assert set(pd.read_csv(path / "reports.csv").worker) == {f"ray-{i}" for i in range(num_workers)}
    facts = json.loads((path / "run.json").read_text())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else facts["hardware"]["cpu"]
    assert facts["workers"] == [{"device": device, "precision": "fp32", "threads": 1, "workers": num_workers}]


@pytest.mark.parametrize(("kept", "torn"), [(0, False), (1, True), (3, False), (3, True), (6, True)])
def test_a_search_goes_on_from_any_row(tiny, searched, copied, kept, torn):
    """Of a table without checksums, as an earlier version has left it, whose seconds are changed."""
    whole = pd.read_csv(searched / "reports.csv", dtype=str, keep_default_na=False).drop(columns="check")
    lines = whole.to_csv(index=False).splitlines(keepends=True)
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
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=on_one_core)
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
        "evaluation": {"epochs": 0.5},
        "search": {"num_individual": 4, "generations": 3},
    }
    file = tmp_path / "killed.yaml"
    file.write_text(yaml.safe_dump(merge(TINY, changes)))
    prepare_cache(tiny(), tmp_path)
    words = {name: ["run", str(file), "--out", str(tmp_path / name)] for name in ("killed", "whole")}
    command = [sys.executable, "-m", "evoprune.cli", *words["killed"]]
    kill_in_mid_search(command, tmp_path / "killed" / "reports.csv")
    assert 2 <= num_rows(tmp_path / "killed" / "reports.csv") < 16
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=on_one_core)
    assert main(words["whole"]) == 0
    for table in ("reports.csv", "output.csv"):
        assert repeated(tmp_path / "killed", table) == repeated(tmp_path / "whole", table)
    assert num_rows(tmp_path / "whole" / "reports.csv") == 16


def prepare_cache(experiment: Experiment, tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "prepared", experiment) as folder:
        prepared(experiment, folder)
