"""Ray workers that are killed in each stage: tables and weights are those of a run in which none is."""

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import prepared, repeated, run_search

from evoprune.config import WorkersConfig
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.retrain import retrain
from evoprune.stages.search import search
from evoprune.workers.jobs import Job, JobFactory
from evoprune.workers.pool import open_workers

SENSITIVE = {"sensitivity": "measured", "generations": 1}


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def deadly_factory(factory: JobFactory, names: set[str], deaths: Path) -> Job:
    """A job that kills its process once for each code or key of `names`: before its first value, or after it."""
    job = factory()

    def deadly_job(item: Any) -> Iterator[Any]:
        found = names & {*getattr(item, "codes", ()), getattr(item, "key", None)}
        after = not hasattr(item, "codes")  # in the middle of a training
        for number, value in enumerate(job(item)):
            if number == 0 and after:
                yield value
            for name in found:
                if not (deaths / name[:40]).exists():
                    (deaths / name[:40]).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            if number or not after:
                yield value

    return deadly_job


def test_a_worker_killed_in_each_stage_changes_nothing(tiny, ray_address, tmp_path):
    settings = {"search": SENSITIVE, "retrain": {"epochs": 3, "select": {"count": 2}}}
    whole = run_search(tiny(**settings), tmp_path / "whole")
    with open_run_folder(whole, tiny(**settings)) as folder:
        retrain(prepared(tiny(**settings), folder))
    curves, front = pd.read_csv(whole / "sensitivity" / "prior.csv"), pd.read_csv(whole / "output.csv")
    names = {curves.code[3], pd.read_csv(whole / "reports.csv").code[5], front.dropna(subset="model").key.iloc[0]}
    (tmp_path / "deaths").mkdir()

    def open_deadly(config: WorkersConfig, factory: JobFactory) -> Any:
        return open_workers(config, partial(deadly_factory, factory, names, tmp_path / "deaths"))

    experiment = tiny(**settings, workers={"backend": "ray", "address": ray_address, "num_workers": 1})
    with open_run_folder(tmp_path / "killed", experiment) as folder:
        context = prepared(experiment, folder)
        search(context, open_deadly)
        retrain(context, open_deadly)
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    for table in ("sensitivity/prior.csv", "reports.csv", "output.csv"):
        assert repeated(tmp_path / "killed", table) == repeated(whole, table)
    weights = sorted(path.relative_to(whole) for path in whole.rglob("*.safetensors"))
    assert len(weights) == 4
    for path in weights:
        assert (tmp_path / "killed" / path).read_bytes() == (whole / path).read_bytes()
