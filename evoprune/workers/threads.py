"""Workers that are threads of this process, each with its own CUDA stream: small networks train side by side on a GPU.

Processes take turns on a GPU; the kernels of streams run at the same time. On a CPU threads gain nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import torch

from evoprune.workers.jobs import Done, Failed, JobFactory, Raised, Report, Said, Workers, reporting, tidy


class ThreadWorkers:
    """`num_workers` threads, each with its own job."""

    def __init__(self, num_workers: int, factory: JobFactory):
        self._factory = factory
        self._names = [f"local-{number}" for number in range(num_workers)]
        self._inboxes: dict[str, SimpleQueue[Any]] = {name: SimpleQueue() for name in self._names}
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self._idle = deque(self._names)
        self._fresh: set[str] = set()
        self._jobs: dict[str, Callable[[Any], Iterator[Any]]] = {}
        self._stop = Event()
        self._threads = [Thread(target=self._work, args=(name,), name=name, daemon=True) for name in self._names]

    def __enter__(self) -> Workers:
        _load_linear_algebra()
        for name in self._names:
            self.renew(name)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is being worked on ends at the next thing that its job yields."""
        self._stop.set()
        for name, thread in zip(self._names, self._threads, strict=True):
            self._inboxes[name].put(None)
            thread.join()
        self._jobs.clear()

    def idle(self) -> list[str]:
        """Those without an item, those that wait longest first."""
        return list(self._idle)

    def num_starting(self) -> int:
        """None: they are there."""
        return 0

    def is_fresh(self, worker: str) -> bool:
        """Whether no item was begun since the job was built."""
        return worker in self._fresh

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        """Hand the item to the thread, which nobody can end."""
        self._idle.remove(worker)
        self._fresh.discard(worker)
        self._inboxes[worker].put((item,))

    def renew(self, worker: str) -> None:
        """Build the job anew, in this thread: one after the other."""
        self._jobs[worker] = reporting(tidy(self._factory()))
        self._fresh.add(worker)
        if torch.cuda.is_initialized():
            torch.cuda.current_stream().synchronize()  # what the job holds is there for any stream

    def wait(self) -> Report:
        """Wait for the next report of any thread."""
        report = self._reports.get()
        if isinstance(report, Done | Failed):
            self._idle.append(report.worker)
        return report

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call the function for every idle worker."""
        return {name: question() for name in self._idle}

    def _work(self, name: str) -> None:
        with own_stream():
            while (given := self._inboxes[name].get()) is not None:
                end: Done | Failed = Done(name)
                for value in self._jobs[name](*given):
                    if isinstance(value, Raised):
                        end = Failed(name, value.reason)
                    else:
                        self._reports.put(Said(name, value))
                    if self._stop.is_set():
                        return
                self._reports.put(end)


def _load_linear_algebra() -> None:
    """Have torch load its linear algebra for CUDA, which it does at first use, and which two threads must not do."""
    if torch.cuda.is_available():
        torch.linalg.inv(torch.eye(1, device="cuda"))


def own_stream() -> AbstractContextManager[Any]:
    """Context in which the kernels of this thread go to a CUDA stream of its own, where there is CUDA."""
    return torch.cuda.stream(torch.cuda.Stream()) if torch.cuda.is_available() else nullcontext()
