"""The worker that is this process."""

from collections.abc import Callable, Iterator
from typing import Any

from evoprune.workers.jobs import Done, JobFactory, Report, Said, Workers, tidy

_NAME = "local"
_END = object()


class LocalWorkers:
    """One worker, which works while it is waited for."""

    def __init__(self, factory: JobFactory):
        self._factory = factory
        self._running: Iterator[Any] | None = None

    def __enter__(self) -> Workers:
        self.renew(_NAME)
        return self

    def __exit__(self, *_: object) -> None:
        del self._job

    def idle(self) -> list[str]:
        """The worker, unless it has an item."""
        return [_NAME] if self._running is None else []

    def num_starting(self) -> int:
        """None: this process is there."""
        return 0

    def is_fresh(self, worker: str) -> bool:
        """Whether no item was begun since the job was built."""
        return self._fresh

    def begin(self, worker: str, item: Any) -> None:
        """Take an item; it is worked on in `wait`."""
        self._running, self._fresh = iter(self._job(item)), False

    def renew(self, worker: str) -> None:
        """Build the job anew."""
        self._job, self._fresh = tidy(self._factory()), True

    def wait(self) -> Report:
        """Work until the job yields or ends."""
        assert self._running is not None, "nobody works"
        value = next(self._running, _END)
        if value is not _END:
            return Said(_NAME, value)
        self._running = None
        return Done(_NAME)

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call the function."""
        return {_NAME: question()}
