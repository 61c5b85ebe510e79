"""Whole small runs on real digits: the same result whatever happens on the way."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import repeated, run_search


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search in this process; tests copy it before they change anything."""
    return run_search(tiny(), tmp_path_factory.mktemp("runs") / "searched")


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "copied"))


def test_ray_workers_measure_what_this_process_measures(tiny, searched, tmp_path):
    experiment = tiny(workers={"backend": "ray", "num_workers": 2})
    path = run_search(experiment, tmp_path / "ray")
    assert repeated(path) == repeated(searched)
    assert set(pd.read_csv(path / "reports.csv").worker) == {"ray-0", "ray-1"}
    facts = json.loads((path / "run.json").read_text())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else facts["hardware"]["cpu"]
    assert facts["workers"] == [{"device": device, "precision": "fp32", "threads": 1, "workers": 2}]


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
