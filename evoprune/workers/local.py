"""The worker that is this process."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evoprune.common.errors import TIME_IS_UP, TrainingError
from evoprune.common.signals import Stopped, stop_if_received
from evoprune.workers.jobs import Done, Failed, JobFactory, Report, Said, Workers, describe, tidy

_NAME = "local"
_END = object()


@contextmanager
def _interrupted_at(deadline: float | None) -> Iterator[None]:
    """Within, raise `TrainingError` at `deadline`; not in a call of C, and not in another thread than the main one."""
    if deadline is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def interrupt(*_: object) -> None:
        raise TrainingError(TIME_IS_UP)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, deadline - time.monotonic()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _may_be_a_users() -> bool:
    """Whether a KeyboardInterrupt comes from a keyboard: commands have handlers that raise something else."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


class LocalWorkers:
    """One worker, which works while it is waited for."""

    def __init__(self, factory: JobFactory):
        self._factory = factory
        self._running: Iterator[Any] | None = None
        self._deadline: float | None = None

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

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        """Take an item; it is worked on in `wait`."""
        self._running, self._fresh = iter(self._job(item)), False
        self._deadline = None if limit_s is None else time.monotonic() + limit_s

    def renew(self, worker: str) -> None:
        """Build the job anew."""
        self._job, self._fresh = tidy(self._factory()), True

    def wait(self) -> Report:
        """Work until the job yields or ends."""
        assert self._running is not None, "nobody works"
        try:
            with _interrupted_at(self._deadline):
                value = next(self._running, _END)
        except BaseException as error:
            stop_if_received()
            if isinstance(error, Stopped) or (isinstance(error, KeyboardInterrupt) and _may_be_a_users()):
                raise
            self._running = None
            return Failed(_NAME, describe(error))
        stop_if_received()
        if value is not _END:
            return Said(_NAME, value)
        self._running = None
        return Done(_NAME)

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call the function."""
        return {_NAME: question()}
