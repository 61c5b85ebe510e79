"""Threads as workers: several at once, each with its own job; what a job raises; leaving while they work."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from evoprune.workers.dispatch import Broken, dispatch
from evoprune.workers.jobs import Job
from evoprune.workers.threads import ThreadWorkers


def meeting_job(barrier: threading.Barrier) -> Job:
    """Ends only when as many threads work at once as the barrier waits for."""

    def job(item: int) -> Iterator[Any]:
        barrier.wait(timeout=30)
        yield threading.current_thread().name, item

    return job


def failing_job() -> Job:
    def job(item: int) -> Iterator[Any]:
        yield item
        raise KeyError("no such thing")

    return job


def endless_job(ended: threading.Event) -> Job:
    def job(item: int) -> Iterator[Any]:
        try:
            while True:
                yield item
                time.sleep(0.01)
        finally:
            ended.set()

    return job


def test_items_are_worked_on_side_by_side():
    with ThreadWorkers(3, partial(meeting_job, threading.Barrier(3))) as workers:
        events = list(dispatch(workers, range(6)))
    assert sorted(event.value[1] for event in events) == list(range(6))
    assert (
        {event.value[0] for event in events} == {event.worker for event in events} == {f"local-{n}" for n in range(3)}
    )


def test_a_thread_whose_job_raises_goes_on_with_the_next_item():
    with ThreadWorkers(2, failing_job) as workers:
        events = list(dispatch(workers, range(4)))
    assert sorted(event.value for event in events if not isinstance(event.value, Broken)) == [0, 1, 2, 3]
    assert [event.value for event in events if isinstance(event.value, Broken)] == 4 * [
        Broken("KeyError: 'no such thing'")
    ]


def test_leaving_ends_a_job_at_its_next_value():
    ended = threading.Event()
    with ThreadWorkers(2, partial(endless_job, ended)) as workers:
        workers.begin("local-0", 1)
        workers.wait()
    assert ended.wait(timeout=30)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("local-")]
