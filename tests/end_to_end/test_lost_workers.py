"""Real Ray workers that die in real runs, and what a worker that lives has imported."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import prepared, repeated, run_search

from evoprune import UserError
from evoprune.cli import main
from evoprune.config import Fidelity, WorkersConfig
from evoprune.evaluation.candidate_job import Batch
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.measure_candidates import candidate_workers
from evoprune.workers.dispatch import Lost, dispatch
from evoprune.workers.jobs import Job, JobFactory
from evoprune.workers.pool import open_workers


@pytest.fixture
def two_on_ray(ray_address: str) -> dict[str, Any]:
    return {"backend": "ray", "address": ray_address, "num_workers": 2}


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def deadly_factory(factory: JobFactory, code: str, deaths: Path) -> Job:
    """A job that ends its process the first time that it is to measure `code`."""
    job = factory()

    def deadly_job(item: Any) -> Iterator[Any]:
        if code in item.codes and not deaths.exists():
            deaths.touch()
            os._exit(1)
        yield from job(item)

    return deadly_job


def test_a_search_whose_worker_is_killed_ends_as_one_where_none_is(tiny, two_on_ray, tmp_path):
    experiment = tiny(workers=two_on_ray)
    reference = run_search(tiny(), tmp_path / "reference")
    code, deaths = pd.read_csv(reference / "reports.csv").code[5], tmp_path / "death"

    def open_deadly(config: WorkersConfig, factory: JobFactory) -> Any:
        return open_workers(config, partial(deadly_factory, factory, code, deaths))

    path = run_search(experiment, tmp_path / "run", open_workers=open_deadly)
    assert deaths.exists()
    assert repeated(path) == repeated(reference)
    assert repeated(path, "output.csv") == repeated(reference, "output.csv")


def starting_factory(calls: Path, dies_at: tuple[int, ...]) -> Job:
    """A job whose worker dies while it starts, at some of the starts counted from 1."""
    number = len(list(calls.iterdir())) + 1
    (calls / str(os.getpid())).touch()
    if number in dies_at:
        os._exit(1)
    return job


def job(item: str) -> Iterator[str]:
    if item == "die":
        os._exit(1)
    yield item


def start(calls: Path, dies_at: tuple[int, ...], workers: dict[str, Any]) -> Any:
    calls.mkdir()
    return open_workers(WorkersConfig(**workers), partial(starting_factory, calls, dies_at))


def test_a_successor_that_dies_while_it_starts_is_started_again(two_on_ray, tmp_path):
    with start(tmp_path / "calls", (3,), two_on_ray) as workers:
        events = list(dispatch(workers, ["die", "a", "b", "c"], retries=0))
        while workers.num_starting():
            workers.wait()
        assert sorted(workers.idle()) == ["ray-0", "ray-1"]
    assert sum(isinstance(event.value, Lost) for event in events) == 1
    assert sorted(event.value for event in events if not isinstance(event.value, Lost)) == ["a", "b", "c"]


def test_workers_that_die_whenever_they_start_are_given_up_with_a_word(two_on_ray, tmp_path):
    message = r"workers: none is left: a worker died 3 times while it started.*goes on"
    with (
        pytest.raises(UserError, match=message),
        start(tmp_path / "calls", tuple(range(2, 20)), {**two_on_ray, "num_workers": 1}) as workers,
    ):
        list(dispatch(workers, ["die", "a"]))


def loaded_modules() -> list[str]:
    return sorted({name.split(".")[0] for name in sys.modules} | {n for n in sys.modules if n.startswith("evoprune")})


def test_a_worker_that_measures_imports_neither_pymoo_nor_pandas_nor_rich(tiny, two_on_ray, tmp_path):
    experiment = tiny(workers={**two_on_ray, "num_workers": 1}, evaluation={"epochs": 0.1, "batch_size": 64})
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        full = context.space.format_code(context.space.full_code())
        with candidate_workers(context, "search") as start_workers:
            workers = start_workers()
            (event,) = dispatch(workers, [Batch((full,), Fidelity(0.1))])
            assert event.value["status"] == "ok"
            (modules,) = workers.ask(loaded_modules).values()
    assert not {"pymoo", "moocore", "pandas", "rich", "matplotlib", "sklearn", "torchvision"} & set(modules)
    assert {"torch", "numpy"} <= set(modules)
    assert not [name for name in modules if name.startswith(("evoprune.search", "evoprune.stages", "evoprune.runs"))]


def test_full_trainings_that_fail_are_named_and_end_with_status_1(tiny, tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny(retrain={"lr": 1e30, "select": {"count": 2}}).to_yaml())
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr()
    assert "2 of 2 trainings did not come to their end: k" in printed.err and "loss is not finite" in printed.err
    assert "base network" in printed.out.split("search: 8/8")[1], "the report is there all the same"
    front = pd.read_csv(tmp_path / "run" / "output.csv")
    assert "test_accuracy" not in front
    assert main(["retrain", str(tmp_path / "run"), "--set", "retrain.lr=0.05"]) == 0
    assert pd.read_csv(tmp_path / "run" / "output.csv").test_accuracy.notna().sum() == 2


def test_a_full_training_whose_worker_always_dies_is_lost_and_the_others_are_trained(tiny, two_on_ray, tmp_path):
    from evoprune.common.errors import IncompleteError
    from evoprune.stages.retrain import retrain

    experiment = tiny(retrain={"select": {"count": 2}}, workers={**two_on_ray, "retries": 1})
    path = run_search(tiny(), tmp_path / "run")
    doomed = pd.read_csv(path / "output.csv").key.iloc[0]

    def open_deadly(config: WorkersConfig, factory: JobFactory) -> Any:
        return open_workers(config, partial(deadly_training, factory, doomed))

    with open_run_folder(path, experiment) as folder:
        context = prepared(experiment, folder)
        with pytest.raises(IncompleteError, match=rf"1 of 2 trainings .*{doomed} seed 0: the worker died 2 times"):
            retrain(context, open_deadly)
        assert pd.read_csv(path / "output.csv").test_accuracy.notna().sum() == 1
    with open_run_folder(path, tiny()) as folder:
        retrain(prepared(tiny(), folder))
    assert pd.read_csv(path / "output.csv").test_accuracy.notna().sum() == 2


def deadly_training(factory: JobFactory, doomed: str) -> Job:
    train = factory()

    def deadly_job(task: Any) -> Iterator[Any]:
        if task.key == doomed:
            os._exit(1)
        yield from train(task)

    return deadly_job
