"""One contract for every kind of workers, and what only Ray can go through.

Names what it tests: evoprune.workers.jobs, evoprune.workers.pool, evoprune.workers.ray_cluster.
"""

import os
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evoprune import UserError
from evoprune.config import WorkersConfig
from evoprune.data.tensors import to_split
from evoprune.workers.dispatch import Event, Lost, dispatch
from evoprune.workers.jobs import Done, Job, Said, Workers
from evoprune.workers.pool import open_workers

CONFIGS = {
    "local": WorkersConfig(backend="local"),
    "threads": WorkersConfig(backend="local", num_workers=2),
    "ray": WorkersConfig(backend="ray", num_workers=2),
}
NAMES = {"local": ["local"], "threads": ["local-0", "local-1"], "ray": ["ray-0", "ray-1"]}
ITEMS = [("parts", 3), ("parts", 1), ("parts", 0), ("parts", 2), ("parts", 3)]


def make_job(calls: Path) -> Job:
    """A factory that leaves one file in `calls` for every call."""
    (calls / uuid.uuid4().hex).touch()
    return job


def job(item: tuple[str, Any]) -> Iterator[Any]:
    kind, number = item
    if kind == "die":
        os._exit(1)
    if kind == "die once" and not Path(str(number)).exists():
        Path(str(number)).touch()
        os._exit(1)
    if kind == "die once":
        number = 1
    if kind == "list":
        yield from [("part", part) for part in range(number)]
    else:
        yield from (("part", part) for part in range(number))
    yield ("result", number)


def make_sharing_job(images: np.ndarray) -> Job:
    """A factory that carries images; its job says how its process holds them and how much memory is its own, in MB."""
    split = to_split((images, np.zeros(len(images), np.int64)), torch.device("cpu"))
    status = Path("/proc/self/status").read_text()
    private_mb = int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024

    def job(item: int) -> Iterator[Any]:
        total = int(images[::1000].sum())
        yield images.flags.writeable, np.shares_memory(split.images.numpy(), images), total, private_mb

    return job


def refuse() -> Job:
    raise UserError("data.root: no such file")


@dataclass
class Outcome:
    """What one set of workers reported for several lists of items, or the error that a list ended in."""

    events: list[Event]
    again: list[Event]
    empty: list[Event]
    listed: list[Event] | Exception
    ended: list[Event]
    late: list[int]
    num_factory_calls: int


def collect(workers: Workers, items: list[tuple[str, int]]) -> list[Event]:
    return list(dispatch(workers, items))


def collect_or_error(workers: Workers, items: list[tuple[str, int]]) -> list[Event] | Exception:
    try:
        return collect(workers, items)
    except Exception as error:
        return error


@pytest.fixture(scope="module")
def ray_config() -> WorkersConfig:
    """Two Ray workers, which get the functions of this file by value: they cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return CONFIGS["ray"]


@pytest.fixture(scope="module", params=list(CONFIGS))
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_config")
    return request.param


@pytest.fixture(scope="module")
def outcome(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Workers are started once for the contract and are gone before a test runs."""
    calls = tmp_path_factory.mktemp("calls")
    with open_workers(CONFIGS[backend], partial(make_job, calls)) as workers:
        events, again, empty = (collect(workers, items) for items in (ITEMS, ITEMS[:2], []))
        listed = collect_or_error(workers, [("list", 2)])
        ended = list(dispatch(workers, iter([None, ("parts", 1)])))
        late = collect_late(workers)
    return Outcome(events, again, empty, listed, ended, late, len(list(calls.iterdir())))


def collect_late(workers: Workers) -> list[int]:
    """How many results had come when each of five items was taken; the second item waits for the first result."""
    heard_when_taken: list[int] = []
    heard = 0

    def source() -> Iterator[tuple[str, int] | None]:
        while len(heard_when_taken) < 5:
            if heard_when_taken and heard == 0:
                yield None
            else:
                heard_when_taken.append(heard)
                yield ("parts", 1)

    for event in dispatch(workers, source()):
        heard += event.value[0] == "result"
    return heard_when_taken


@dataclass
class Survival:
    """What two Ray workers reported of deadly items, and afterwards."""

    deadly: list[Event]
    once: list[Event]
    afterwards: list[Event]
    num_factory_calls: int


@pytest.fixture(scope="module")
def survived(ray_config: WorkersConfig, tmp_path_factory: pytest.TempPathFactory) -> Survival:
    calls, mark = tmp_path_factory.mktemp("calls"), tmp_path_factory.mktemp("mark") / "died"
    with open_workers(ray_config, partial(make_job, calls)) as workers:
        deadly = list(dispatch(workers, [("parts", 2), ("die", 0), *ITEMS], retries=1))
        once = list(dispatch(workers, [("die once", str(mark))]))
        while workers.num_starting():
            workers.wait()
        return Survival(deadly, once, collect(workers, ITEMS), len(list(calls.iterdir())))


def reported(events: list[Event], index: int) -> list[Any]:
    return [event.value for event in events if event.index == index]


def all_of(number: int) -> list[Any]:
    return [*(("part", part) for part in range(number)), ("result", number)]


def test_every_item_reports_all_in_order_and_its_result_last(outcome):
    for index, (_, number) in enumerate(ITEMS):
        assert reported(outcome.events, index) == all_of(number)
    assert {event.index for event in outcome.events} == set(range(len(ITEMS)))


def test_an_item_stays_with_one_worker(outcome, backend):
    names = set(NAMES[backend])
    assert {event.worker for event in outcome.events} == names
    for index in range(len(ITEMS)):
        assert len({event.worker for event in outcome.events if event.index == index}) == 1


def test_workers_take_one_list_after_the_other(outcome):
    assert [reported(outcome.again, index) for index in (0, 1)] == [all_of(3), all_of(1)]
    assert outcome.empty == []


def test_an_item_is_taken_when_a_worker_is_idle_and_none_waits(outcome, backend):
    num_workers = len(NAMES[backend])
    assert outcome.late[0] == 0 and outcome.late[1] >= 1
    assert all(heard > index - num_workers for index, heard in enumerate(outcome.late))


def test_none_with_nothing_under_way_is_the_end(outcome):
    assert outcome.ended == []


def test_the_factory_is_called_once_per_worker(outcome, backend):
    assert outcome.num_factory_calls == len(NAMES[backend])


def test_a_job_may_pass_on_any_iterable(outcome):
    assert not isinstance(outcome.listed, Exception), str(outcome.listed)
    assert reported(outcome.listed, 0) == all_of(2)


def test_a_users_mistake_in_the_factory_stays_one(backend):
    with pytest.raises(UserError, match=r"data\.root: no such file"), open_workers(CONFIGS[backend], refuse):
        pass


def test_an_item_that_kills_its_workers_is_lost_and_no_other(survived):
    (lost,) = reported(survived.deadly, 1)
    assert isinstance(lost, Lost) and lost.reason.startswith("the worker died 2 times, at last: ")
    assert reported(survived.deadly, 0) == all_of(2)
    for index, (_, number) in enumerate(ITEMS, start=2):
        assert reported(survived.deadly, index) == all_of(number)


def test_an_item_whose_worker_dies_once_is_done_by_another(survived):
    assert reported(survived.once, 0) == all_of(1)


def test_dead_workers_are_replaced(survived):
    assert {event.worker for event in survived.afterwards} == {"ray-0", "ray-1"}
    for index, (_, number) in enumerate(ITEMS):
        assert reported(survived.afterwards, index) == all_of(number)
    # two at the start, one for each of three deaths, and one for a last try where no successor was about to come
    assert survived.num_factory_calls in (5, 6, 7)


def test_an_idle_worker_can_be_renewed(backend, tmp_path):
    with open_workers(CONFIGS[backend], partial(make_job, tmp_path)) as workers:
        first = workers.idle()[0]
        assert workers.is_fresh(first)
        workers.begin(first, ("parts", 1))
        assert first not in workers.idle() and not workers.is_fresh(first)
        assert [workers.wait() for _ in range(3)] == [Said(first, ("part", 0)), Said(first, ("result", 1)), Done(first)]
        assert first in workers.idle() and not workers.is_fresh(first)
        workers.renew(first)
        while workers.num_starting():
            workers.wait()
        assert first in workers.idle() and workers.is_fresh(first)


def test_missing_gpus_are_named_before_work_starts(tmp_path):
    config = WorkersConfig(backend="ray", num_workers=1, gpus_per_worker=1000.0)
    with pytest.raises(UserError, match=r"gpus_per_worker: 1000\.0 need 1000 GPUs"):
        open_workers(config, partial(make_job, tmp_path)).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_workers_share_images_without_a_copy_of_their_own(ray_config):
    images = np.ones((50_000, 64, 64, 3), np.uint8)  # 600 MB: more than a worker needs for itself
    with open_workers(ray_config, partial(make_sharing_job, images)) as workers:
        events = collect(workers, [0, 1, 2, 3])
    assert {event.worker for event in events} == {"ray-0", "ray-1"}
    for writeable, shared, total, private_mb in (event.value for event in events):
        assert (writeable, shared, total) == (False, True, 50 * 64 * 64 * 3)
        assert private_mb < 500, "a copy of its own"


def test_images_that_do_not_fit_rays_store_are_the_users_to_solve(monkeypatch):
    import ray

    def full(_: object) -> None:
        raise ray.exceptions.OutOfDiskError("Local disk is full\nmore")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(UserError, match=r"object store: .*full.*; free memory.*workers\.backend: local"):
        open_workers(CONFIGS["ray"], refuse).__enter__()
    assert not ray.is_initialized()


def test_answers_come_from_every_worker(backend, tmp_path):
    with open_workers(CONFIGS[backend], partial(make_job, tmp_path)) as workers:
        answers = workers.ask(os.getpid)
    assert list(answers) == NAMES[backend]
    assert len(set(answers.values())) == (2 if backend == "ray" else 1)
    assert (os.getpid() in answers.values()) == (backend != "ray")
