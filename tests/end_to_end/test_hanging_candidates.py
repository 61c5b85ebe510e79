"""A layer that sleeps: its candidate is ended at the time limit, alone, and the search ends as it would have."""

import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
import pytest
import torch
from helpers import run_search

from evoprune.config import WorkersConfig
from evoprune.workers.jobs import Job, JobFactory
from evoprune.workers.pool import open_workers


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def sleep(*_: Any) -> None:
    time.sleep(600)


def sleepy_factory(factory: JobFactory, code: str) -> Job:
    """A job whose layers sleep in the forward pass of one code."""
    job = factory()

    def sleepy_job(item: Any) -> Iterator[Any]:
        if code not in item.codes:
            yield from job(item)
            return
        hook = torch.nn.modules.module.register_module_forward_pre_hook(sleep)
        try:
            yield from job(item)
        finally:
            hook.remove()

    return sleepy_job


@pytest.mark.parametrize("backend", ["ray", "local"])
def test_a_layer_that_sleeps_costs_one_row(tiny, tmp_path, backend, monkeypatch):
    """In this process a sleep can be interrupted; a call of C that does not return could not."""
    monkeypatch.setattr("evoprune.evaluation.candidate_job.SPARE_S", 1.0)
    reference = pd.read_csv(run_search(tiny(search={"generations": 0}), tmp_path / "reference") / "reports.csv")
    code = reference.code[2]

    def open_sleepy(config: WorkersConfig, factory: JobFactory) -> Any:
        return open_workers(config, partial(sleepy_factory, factory, code))

    workers = {"backend": backend, "num_workers": 1 if backend == "local" else 2}
    experiment = tiny(workers=workers, search={"generations": 0}, evaluation={"time_limit_s": 5.0})
    table = pd.read_csv(run_search(experiment, tmp_path / "run", open_workers=open_sleepy) / "reports.csv")
    assert table.status.tolist() == ["ok", "ok", "failed", "ok"]
    assert "the time limit has passed" in table.error[2]
    others = [0, 1, 3]
    assert table.accuracy[others].tolist() == reference.accuracy[others].tolist()
    assert table.flops.tolist() == reference.flops.tolist(), "costs are there all the same"
