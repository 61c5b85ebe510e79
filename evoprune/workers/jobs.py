"""Jobs, and what workers report of them: what the pools and those who use them agree on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from evoprune.common.errors import reason_of
from evoprune.common.hardware import release_memory

_RELEASE_EVERY_S = 10.0  # what is given back is fetched again, at about 0.1 s

Job = Callable[[Any], Iterator[Any]]
"""Does one item of work: yields what it has to report, its result last."""
JobFactory = Callable[[], Job]
"""Builds the job once in every worker. Picklable; NumPy arrays in it are shared by the workers of a node, read-only."""


@dataclass(frozen=True)
class Said:
    """A worker's job has yielded a value."""

    worker: str
    value: Any


@dataclass(frozen=True)
class Done:
    """A worker has done its item and is idle."""

    worker: str


@dataclass(frozen=True)
class Died:
    """A worker has died on its item; another one is being started under its name."""

    worker: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """A worker's job has raised what no job should raise, or has not ended in its time; the worker is there again."""

    worker: str
    reason: str


@dataclass(frozen=True)
class Raised:
    """What a job has raised, as the last value of `reporting`."""

    reason: str


@dataclass(frozen=True)
class Started:
    """A worker that was being started is idle."""

    worker: str


Report = Said | Done | Died | Failed | Started


class Workers(Protocol):
    """Workers by their names; each does one item at a time. Nothing here waits but `wait`."""

    def idle(self) -> list[str]:
        """Workers that can begin an item, those that wait longest first."""
        ...

    def num_starting(self) -> int:
        """How many workers are being started; each will be idle, and fresh, unless it dies."""
        ...

    def is_fresh(self, worker: str) -> bool:
        """Whether a worker has begun no item yet."""
        ...

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        """Have an idle worker run the job on `item`, and end it where it takes longer than `limit_s`, if that can be.

        A Ray worker is killed and replaced. In this process Python code is interrupted, and a call of C is not.
        Threads are left alone.
        """
        ...

    def renew(self, worker: str) -> None:
        """End an idle worker and start a fresh one under its name."""
        ...

    def wait(self) -> Report:
        """Wait until a worker reports something; one at least is working or being started.

        Raises:
            UserError: all workers are gone and none can be started.
        """
        ...

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call a picklable function once in every idle worker; its answers by the workers' names."""
        ...


def tidy(job: Job) -> Job:
    """The same job, which now and then, after an item, gives back the memory that items have freed."""
    released = time.monotonic()

    def tidy_job(item: Any) -> Iterator[Any]:
        nonlocal released
        # Not `yield from`: Ray sends into the generator, and a job may be any iterator.
        for value in job(item):  # noqa: UP028
            yield value
        if time.monotonic() - released > _RELEASE_EVERY_S:
            release_memory()
            released = time.monotonic()

    return tidy_job


def reporting(job: Job) -> Job:
    """The same job, which reports what it raises, whatever that is, and ends."""

    def reporting_job(item: Any) -> Iterator[Any]:
        values = None
        while True:
            try:
                values = iter(job(item)) if values is None else values
                value = next(values)
            except StopIteration:
                return
            except BaseException as error:  # a job has no business with KeyboardInterrupt, SystemExit, GeneratorExit
                value = Raised(describe(error))
            yield value
            if isinstance(value, Raised):
                return

    return reporting_job


def describe(error: BaseException) -> str:
    """An error in one line: its type, and what it says."""
    return f"{type(error).__name__}: {reason_of(error)}"
