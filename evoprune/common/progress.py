"""Progress of long work: a bar on a terminal, plain lines elsewhere. The only module that imports rich."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from evoprune.common.errors import printable

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_NOTES = 1.0
_SPEED_OVER_SECONDS = 3600.0
_BAR_WIDTH = 12


class Meter(Protocol):
    """Counts finished work."""

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        """Show that `done` of the total is finished; `note`, called when it is shown, says what is best."""
        ...


class Silent:
    """The meter of who does not look: what algorithms report to by default."""

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        """Show nothing."""


@contextmanager
def progress(title: str, total: float, done: float = 0) -> Iterator[Meter]:
    """A meter for `total` pieces of work, of which `done` were finished before, with the time left."""
    if not sys.stdout.isatty():
        yield _Lines(title, total, done)
        return
    with _open_bars() as bars:
        yield _Bar(bars, title, total, done)


@contextmanager
def live_text() -> Iterator[Callable[[str, str], None]]:
    """A text that changes: `show(block, line)` repaints the block on a terminal, and prints each new line elsewhere."""
    if not sys.stdout.isatty():
        yield _NewLines()
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as live:
        yield lambda block, _: live.update(Text(block, no_wrap=True, overflow="crop"), refresh=True)


class Pace:
    """The speed of work since its first piece: before that workers start, and an earlier process may have worked."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def seconds_left(self, done: float, total: float) -> float | None:
        """Seconds until all of `total` is done, now that `done` is; None where that is not known yet."""
        now = time.monotonic()
        since, before = self._first = self._first or (now, done)
        return (total - done) * (now - since) / (done - before) if done > before else None


class _NewLines:
    def __init__(self) -> None:
        self._last = ""

    def __call__(self, _: str, line: str) -> None:
        if line != self._last:
            say(line)
        self._last = line


def say(text: str) -> None:
    """Print one line, at once also where the output is a file; control characters are escaped."""
    print(printable(text), flush=True)


def _open_bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    whole = Column(no_wrap=True)
    return Progress(
        TextColumn("{task.description}", table_column=whole),
        BarColumn(_BAR_WIDTH, table_column=Column(min_width=_BAR_WIDTH)),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn("left", table_column=whole),
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1)),
        console=Console(file=sys.stdout),
        speed_estimate_period=_SPEED_OVER_SECONDS,
        expand=True,
    )


class _Bar:
    def __init__(self, bars: Any, title: str, total: float, done: float):
        self._bars = bars
        self._task = bars.add_task(title, total=total, completed=int(done), note="")
        self._noted = -_SECONDS_BETWEEN_NOTES

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        self._bars.update(self._task, completed=done)
        if time.monotonic() - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = time.monotonic()
            self._bars.update(self._task, note=note())


class _Lines:
    def __init__(self, title: str, total: float, done: float):
        self._title, self._total, self._done = title, total, done
        self._started = self._printed = time.monotonic()
        self._pace = Pace()

    def update(self, done: float, note: Callable[[], str] = str) -> None:
        now = time.monotonic()
        ends = self._done < self._total <= done
        self._done = done
        seconds = self._pace.seconds_left(done, self._total)
        if now - self._printed < _SECONDS_BETWEEN_LINES and not ends:
            return
        self._printed = now
        left = f", {duration(seconds)} left" if seconds else ""
        taken = duration(now - self._started)
        text = note()
        say(f"{self._title}: {done:g}/{self._total:g} in {taken}{left}{'  ' + text if text else ''}")


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
