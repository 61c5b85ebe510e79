"""How far a long stage of a run is, for who looks from another terminal."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from evoprune.common.files import read_bounded, write_atomically
from evoprune.common.progress import Meter, Pace, duration, progress
from evoprune.runs.folder import RunFolder

_SECONDS_BETWEEN_NOTES = 2.0
_MOST_BYTES = 10_000


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is.

    Attributes:
        title: what is counted.
        done: of `total`.
        total: pieces of work.
        left: seconds until all is done at the speed since the first piece; None where that is not known yet.
    """

    title: str
    done: float
    total: float
    left: float | None

    def __str__(self) -> str:
        ends = "" if self.left is None else f", about {duration(self.left)} left"
        return f"{self.title}: {self.done:g} of {self.total:g}{ends}"


@contextmanager
def stage_progress(folder: RunFolder, title: str, total: float) -> Iterator[Meter]:
    """As `progress`, and in the run's `progress.json` until the stage ends."""
    with progress(title, total) as meter:
        noted = _Noted(meter, folder, StageProgress(title, 0, total, None))
        try:
            yield noted
        finally:
            folder.progress.unlink(missing_ok=True)


def read_progress(folder: RunFolder) -> StageProgress | None:
    """What the process that works in the run has noted; None where no stage is long."""
    with suppress(OSError, ValueError, TypeError):
        return StageProgress(**json.loads(read_bounded(folder.progress, _MOST_BYTES)))
    return None


class _Noted:
    """A meter that leaves a note of what it shows. A disk that takes no note does not stop the work."""

    def __init__(self, meter: Meter, folder: RunFolder, start: StageProgress):
        self._meter, self._path, self._start = meter, folder.progress, start
        self._pace = Pace()
        self._written = time.monotonic()
        self._write(start)

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        self._meter.update(done, note)
        left, now = self._pace.seconds_left(done, self._start.total), time.monotonic()
        if now - self._written >= _SECONDS_BETWEEN_NOTES:
            self._written = now
            self._write(StageProgress(self._start.title, done, self._start.total, left))

    def _write(self, progress: StageProgress) -> None:
        with suppress(OSError):
            write_atomically(self._path, json.dumps(asdict(progress)) + "\n")
