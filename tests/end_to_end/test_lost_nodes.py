"""Nodes of a Ray cluster that die or join while workers work: no table and no weight changes."""

import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import prepared, repeated, run_search
from ray_clusters import kill_node, open_cluster, set_nodes

from evoprune import UserError
from evoprune.config import WorkersConfig
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.retrain import retrain
from evoprune.stages.search import search
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Job, JobFactory
from evoprune.workers.pool import open_workers

LIMIT_S = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose workers get the functions of this file by value: they cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with open_cluster() as cluster:
        yield cluster


def stuck_factory(factory: JobFactory, code: str, sign: Path) -> Job:
    """A job that does not come to its end the first time that it is to measure `code`, and writes down its node."""
    job = factory()

    def stuck_job(item: Any) -> Iterator[Any]:
        if code in getattr(item, "codes", ()) and not sign.exists():
            import ray

            sign.with_suffix(".part").write_text(ray.get_runtime_context().get_node_id())
            sign.with_suffix(".part").rename(sign)
            time.sleep(LIMIT_S)
        yield from job(item)

    return stuck_job


def kill_when(sign: Path, cluster: Any) -> None:
    """Kill the node that a worker has written down."""
    deadline = time.monotonic() + LIMIT_S
    while not sign.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_node(cluster, sign.read_text())


def test_a_node_that_dies_in_mid_generation_changes_nothing(tiny, tmp_path, cluster):
    settings = {"search": {"generations": 2}, "evaluation": {"epochs": 0.1, "batch_size": 64}}
    whole = run_search(tiny(**settings), tmp_path / "whole")
    with open_run_folder(whole, tiny(**settings)) as folder:
        retrain(prepared(tiny(**settings), folder))
    code, sign = pd.read_csv(whole / "reports.csv").code[6], tmp_path / "sign"
    set_nodes(cluster, 2)
    experiment = tiny(**settings, workers={"backend": "ray", "address": cluster.address, "num_workers": 2})

    def open_stuck(config: WorkersConfig, factory: JobFactory) -> Any:
        return open_workers(config, partial(stuck_factory, factory, code, sign))

    killer = threading.Thread(target=kill_when, args=(sign, cluster))
    killer.start()
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        search(context, open_stuck)
        killer.join()
        assert len(cluster.worker_nodes) == 1
        retrain(context)  # two workers are asked for, and one finds a place
    for table in ("reports.csv", "output.csv"):
        assert repeated(tmp_path / "run", table) == repeated(whole, table)
    assert {"ray-0", "ray-1"} == set(pd.read_csv(tmp_path / "run" / "reports.csv").worker)
    for path in whole.rglob("*.safetensors"):
        assert (tmp_path / "run" / path.relative_to(whole)).read_bytes() == path.read_bytes()


def make_slow_job() -> Job:
    return slow_job


def slow_job(item: int) -> Iterator[int]:
    time.sleep(0.1)
    yield item


@pytest.mark.parametrize("num_workers", ["auto", 2])
def test_a_node_that_joins_is_given_work(cluster, num_workers, monkeypatch):
    monkeypatch.setattr("evoprune.workers.ray_nodes.LOOK_EVERY_S", 0.5)
    set_nodes(cluster, 1)
    seen: set[str] = set()
    deadline = time.monotonic() + LIMIT_S

    def until_two_work() -> Iterator[int]:
        while len(seen) < 2 and time.monotonic() < deadline:
            yield 0

    with open_workers(WorkersConfig(address=cluster.address, num_workers=num_workers), make_slow_job) as workers:
        assert workers.idle() == ["ray-0"]
        set_nodes(cluster, 2)
        for event in dispatch(workers, until_two_work()):
            seen.add(event.worker)
    assert seen == {"ray-0", "ray-1"}


def test_workers_that_fit_no_node_are_refused_at_once(cluster):
    set_nodes(cluster, 2)
    config = WorkersConfig(address=cluster.address, cpus_per_worker=2)
    with pytest.raises(UserError, match=r"cpus_per_worker: 2 need 2 CPUs, Ray has 1"):
        open_workers(config, make_slow_job).__enter__()
