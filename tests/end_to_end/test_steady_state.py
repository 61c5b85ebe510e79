"""Whole searches in steady state: the same rows from one worker, whatever happens on the way."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import repeated, run_search

STEADY: dict[str, Any] = {
    "search": {"mode": "steady_state", "random_samples": 4, "num_individual": 4, "generations": 2},
    "evaluation": {"epochs": 0.5, "batch_size": 64, "ladder": [{"epochs": 0, "promote": 0.5}]},
}


@pytest.fixture(scope="module")
def steady(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished steady-state search in this process; tests copy it before they change anything."""
    return run_search(tiny(**STEADY), tmp_path_factory.mktemp("runs") / "steady")


def test_one_ray_worker_finds_what_this_process_finds(tiny, steady, ray_address, tmp_path):
    experiment = tiny(**STEADY, workers={"backend": "ray", "address": ray_address, "num_workers": 1})
    path = run_search(experiment, tmp_path / "ray")
    assert repeated(path) == repeated(steady)
    assert repeated(path, "output.csv") == repeated(steady, "output.csv")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tiny, steady, tmp_path):
    header, *lines = (steady / "reports.csv").read_text().splitlines(keepends=True)
    for kept in range(0, len(lines), 4):
        path = Path(shutil.copytree(steady, tmp_path / f"{kept}"))
        (path / "reports.csv").write_text(header + "".join(lines[:kept]))
        run_search(tiny(**STEADY), path)
        assert repeated(path) == repeated(steady)
        assert repeated(path, "output.csv") == repeated(steady, "output.csv")


def test_two_ray_workers_measure_every_candidate(tiny, ray_address, tmp_path):
    workers = {"backend": "ray", "address": ray_address, "num_workers": 2}
    path = run_search(tiny(**STEADY, workers=workers), tmp_path / "ray")
    rows = pd.read_csv(path / "reports.csv")
    assert sorted(rows.id.unique()) == list(range(12)) and set(rows.worker) == {"ray-0", "ray-1"}
    assert (rows.status == "ok").all() and rows[rows.rung == 0].key.is_unique
