"""Workers in this process that die on the items that they are told to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evoprune.config import WorkersConfig
from evoprune.workers.jobs import Died, JobFactory, Report, Workers
from evoprune.workers.local import LocalWorkers

Deadly = Callable[[Any], bool]


class _MortalWorkers(LocalWorkers):
    def __init__(self, factory: JobFactory, deadly: Deadly):
        super().__init__(factory)
        self._deadly = deadly

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        super().begin(worker, item, limit_s)
        self._dies = self._deadly(item)

    def wait(self) -> Report:
        if not self._dies:
            return super().wait()
        self._running = None
        self.renew("local")
        return Died("local", "killed by a test")


def mortal_workers(deadly: Deadly) -> Callable[[WorkersConfig, JobFactory], Any]:
    """What opens workers of which one dies wherever `deadly` says so of an item."""

    @contextmanager
    def open_workers(config: WorkersConfig, factory: JobFactory) -> Iterator[Workers]:
        with _MortalWorkers(factory, deadly) as workers:
            yield workers

    return open_workers


class Countdown:
    """Deadly to items that hold a code, as often as it is told."""

    def __init__(self, code: str, times: int):
        self.code, self.left = code, times

    def __call__(self, item: Any) -> bool:
        if self.left and self.code in getattr(item, "codes", ()):
            self.left -= 1
            return True
        return False
