"""One contract for every kind of workers, and what only Ray can go through.

Names what it tests: evoprune.workers.jobs, evoprune.workers.pool, evoprune.workers.ray_cluster.
"""

import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evoprune import UserError
from evoprune.config import WorkersConfig
from evoprune.workers.dispatch import Event, Lost, dispatch
from evoprune.workers.jobs import Done, Job, Report, Said, Workers
from evoprune.workers.pool import open_workers

CONFIGS = {
    "local": WorkersConfig(backend="local"),
    "threads": WorkersConfig(backend="local", num_workers=2),
}
OWN_RAY = WorkersConfig(backend="ray", num_workers=2)
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
    answers: dict[str, int]
    fresh: list[list[bool]]
    begun: tuple[str, list[str], list[Report], list[str]]


def collect(workers: Workers, items: list[tuple[str, int]]) -> list[Event]:
    return list(dispatch(workers, items))


def collect_or_error(workers: Workers, items: list[tuple[str, int]]) -> list[Event] | Exception:
    try:
        return collect(workers, items)
    except Exception as error:
        return error


@pytest.fixture(scope="module")
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def ray_config(ray_address: str, by_value: None) -> WorkersConfig:
    return WorkersConfig(backend="ray", address=ray_address, num_workers=2)


@pytest.fixture(scope="module", params=list(NAMES))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def config(backend: str, request: pytest.FixtureRequest) -> WorkersConfig:
    return request.getfixturevalue("ray_config") if backend == "ray" else CONFIGS[backend]


@pytest.fixture(scope="module")
def outcome(config: WorkersConfig, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Workers are started once for the contract and are gone before a test runs."""
    calls = tmp_path_factory.mktemp("calls")
    with open_workers(config, partial(make_job, calls)) as workers:
        answers, fresh = workers.ask(os.getpid), [are_fresh(workers)]
        events, again, empty = (collect(workers, items) for items in (ITEMS, ITEMS[:2], []))
        listed = collect_or_error(workers, [("list", 2)])
        ended = list(dispatch(workers, iter([None, ("parts", 1)])))
        late = collect_late(workers)
        num_factory_calls = len(list(calls.iterdir()))
        begun = begin(workers, workers.idle()[0])
        fresh += [are_fresh(workers), are_fresh_when_renewed(workers)]
    return Outcome(events, again, empty, listed, ended, late, num_factory_calls, answers, fresh, begun)


def begin(workers: Workers, name: str) -> tuple[str, list[str], list[Report], list[str]]:
    """The worker, who is idle while it has an item, what it reports, and who is idle then."""
    workers.begin(name, ("parts", 1))
    return name, workers.idle(), [workers.wait() for _ in range(3)], workers.idle()


def are_fresh(workers: Workers) -> list[bool]:
    return [workers.is_fresh(name) for name in workers.idle()]


def are_fresh_when_renewed(workers: Workers) -> list[bool]:
    for name in workers.idle():
        workers.renew(name)
    while workers.num_starting():
        workers.wait()
    return are_fresh(workers)


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


def test_a_users_mistake_in_the_factory_stays_one(config):
    with pytest.raises(UserError, match=r"data\.root: no such file"), open_workers(config, refuse):
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


def test_an_idle_worker_is_fresh_until_it_begins_an_item_and_again_when_it_is_renewed(outcome, backend):
    assert outcome.fresh == [[is_fresh] * len(NAMES[backend]) for is_fresh in (True, False, True)]


def test_a_worker_that_has_begun_an_item_is_not_idle_until_it_is_done(outcome):
    first, meanwhile, reports, afterwards = outcome.begun
    assert first not in meanwhile and first in afterwards
    assert reports == [Said(first, ("part", 0)), Said(first, ("result", 1)), Done(first)]


def test_missing_gpus_are_named_before_work_starts(tmp_path):
    config = WorkersConfig(backend="ray", num_workers=1, gpus_per_worker=1000.0)
    with pytest.raises(UserError, match=r"gpus_per_worker: 1000\.0 need 1000 GPUs"):
        open_workers(config, partial(make_job, tmp_path)).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_fit_rays_store_are_the_users_to_solve(monkeypatch):
    import ray

    def full(_: object) -> None:
        raise ray.exceptions.OutOfDiskError("Local disk is full\nmore")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(UserError, match=r"object store: .*full.*; free memory.*workers\.backend: local"):
        open_workers(OWN_RAY, refuse).__enter__()
    assert not ray.is_initialized()


def test_answers_come_from_every_worker(outcome, backend):
    assert list(outcome.answers) == NAMES[backend]
    assert len(set(outcome.answers.values())) == (2 if backend == "ray" else 1)
    assert (os.getpid() in outcome.answers.values()) == (backend != "ray")
