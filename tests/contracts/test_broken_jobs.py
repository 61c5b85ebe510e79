"""One contract for every kind of workers: a job that raises, hangs or yields what cannot be sent costs one value.

Names what it tests: evoprune.workers.jobs, evoprune.workers.pool.
"""

import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evoprune.config import WorkersConfig
from evoprune.workers.dispatch import Broken, Event, dispatch
from evoprune.workers.jobs import Job
from evoprune.workers.pool import open_workers

CONFIGS = {
    "local": WorkersConfig(backend="local"),
    "threads": WorkersConfig(backend="local", num_workers=2),
}
NAMES = {"local": ["local"], "threads": ["local-0", "local-1"], "ray": ["ray-0", "ray-1"]}
ERRORS = [KeyError("k"), KeyboardInterrupt("a"), GeneratorExit("b"), SystemExit("c"), RecursionError("d")]


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(params=list(NAMES))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(backend: str, request: pytest.FixtureRequest) -> WorkersConfig:
    if backend != "ray":
        return CONFIGS[backend]
    return WorkersConfig(backend="ray", address=request.getfixturevalue("ray_address"), num_workers=2)


def make_job(calls: Path) -> Job:
    """A factory that leaves one file in `calls` for every call."""
    (calls / f"{time.monotonic_ns()}").touch()
    return job


def job(item: tuple[str, int]) -> Iterator[Any]:
    kind, number = item
    if kind == "raise":
        raise ERRORS[number]
    if kind == "sleep":
        time.sleep(600)
    yield threading.Lock() if kind == "unsendable" else number


def reported(events: list[Event], index: int) -> list[Any]:
    return [event.value for event in events if event.index == index]


def test_whatever_a_job_raises_or_cannot_send_is_one_broken_value(backend, config, tmp_path, monkeypatch):
    if backend == "local":  # as in a command: else a KeyboardInterrupt may be the user's
        monkeypatch.setattr("evoprune.workers.local._may_be_a_users", lambda: False)
    items = [*(("raise", number) for number in range(len(ERRORS))), ("good", 1), ("unsendable", 0), ("good", 2)]
    with open_workers(config, partial(make_job, tmp_path)) as workers:
        events = list(dispatch(workers, items))
    wanted = ["KeyError: 'k'", "KeyboardInterrupt: a", "GeneratorExit: b", "SystemExit: c", "RecursionError: d"]
    for number, reason in enumerate(wanted):
        assert reported(events, number) == [Broken(reason)]
    assert [reported(events, len(ERRORS) + number) for number in (0, 2)] == [[1], [2]]
    (unsendable,) = reported(events, len(ERRORS) + 1)
    assert backend != "ray" or (isinstance(unsendable, Broken) and "pickle" in unsendable.reason)
    assert len(list(tmp_path.iterdir())) == len(NAMES[backend]), "no worker was replaced"


def test_a_users_interrupt_stays_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_workers(CONFIGS["local"], partial(make_job, tmp_path)) as workers:
        list(dispatch(workers, [("raise", 1)]))


@pytest.mark.parametrize("backend", ["local", "ray"], indirect=True)
def test_who_sleeps_is_ended_at_its_limit(tmp_path, backend, config):
    with open_workers(config, partial(make_job, tmp_path)) as workers:
        started = time.monotonic()
        events = list(dispatch(workers, [("sleep", 0), ("good", 1)], limit=lambda _: 2.0))
        assert time.monotonic() - started < 30
        (broken,) = reported(events, 0)
        assert isinstance(broken, Broken) and "the time limit has passed" in broken.reason
        assert reported(events, 1) == [1]
        while workers.num_starting():
            workers.wait()
        assert sorted(workers.idle()) == NAMES[backend], "who was ended is replaced"
