"""The one loop over the workers: items in, what the jobs report out, whatever dies."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from evoprune.workers.jobs import Died, Done, Failed, Said, Workers

_END = object()
Limit = Callable[[Any], float | None]
Rest = Callable[[Any, int], Sequence[Any]]
"""Takes an item and how many values its job has yielded; returns what is left, one part for each missing value."""


@dataclass(frozen=True)
class Lost:
    """Stands for the value that an item has not yielded, as workers died on it again and again."""

    reason: str


@dataclass(frozen=True)
class Broken:
    """Stands for the value that an item has not yielded, as its job raised something or took longer than it may."""

    reason: str


@dataclass(frozen=True)
class Event:
    """Something that was reported of an item.

    Attributes:
        index: which item, in the order in which they were taken.
        part: which of the item's values this is.
        worker: who reported it.
        value: what its job has yielded, or `Lost`, or `Broken`.
    """

    index: int
    part: int
    worker: str
    value: Any


def as_a_whole(item: Any, num_values: int) -> Sequence[Any]:
    """The `Rest` of items that are done again from their beginning."""
    return [item]


def no_limit(item: Any) -> float | None:
    """The `Limit` of items that may take any time."""
    return None


def dispatch(
    workers: Workers,
    items: Iterable[Any],
    retries: int = 2,
    rest: Rest = as_a_whole,
    limit: Limit = no_limit,
) -> Iterator[Event]:
    """Run the job on every item; yields all that the jobs report, in the order in which it comes.

    An item whose worker dies goes to another worker, in parts where `rest` makes such. What has failed `retries` times
    is tried for the last time in a fresh worker; then it is `Lost`.

    An item whose job raises, or takes too long, is `Broken` and not tried again: it would do the same. But where it is
    one of several, each of them is tried alone first.

    Args:
        workers: that are started.
        items: one is taken when a worker is idle, and not before, so that a generator may decide late from what was
            reported until then. None says "nothing for now": the next one is taken after the next report, and where no
            item is being worked on it is the end.
        retries: how many times an item is tried again.
        rest: what is left of an item whose worker has died.
        limit: seconds that an item may take; None for any.

    Raises:
        UserError: all workers are gone and none can be started.
    """
    return _Dispatcher(workers, items, retries, rest, limit).run()


@dataclass
class _Attempt:
    """One try of an item, or of a part of it that begins with the value `first`."""

    index: int
    item: Any
    first: int = 0
    num_values: int = 0
    num_deaths: int = 0


class _Dispatcher:
    def __init__(self, workers: Workers, items: Iterable[Any], retries: int, rest: Rest, limit: Limit):
        self._workers, self._retries, self._rest, self._limit = workers, retries, rest, limit
        self._source, self._indices = iter(items), count()
        self._running: dict[str, _Attempt] = {}
        self._again: deque[_Attempt] = deque()
        self._last_tries: deque[_Attempt] = deque()
        self._is_exhausted, self._may_take = False, True

    def run(self) -> Iterator[Event]:
        while True:
            self._may_take = not self._is_exhausted
            self._assign()
            if not (self._may_take or self._running or self._again or self._last_tries):
                return
            match self._workers.wait():
                case Said(worker, value):
                    attempt = self._running[worker]
                    attempt.num_values += 1
                    yield Event(attempt.index, attempt.first + attempt.num_values - 1, worker, value)
                case Done(worker):
                    del self._running[worker]
                case Failed(worker, reason):
                    yield from self._break(worker, reason)
                case Died(worker, reason):
                    yield from self._lose(worker, reason)

    def _assign(self) -> None:
        for worker in self._workers.idle():
            attempt = self._choose(worker)
            if attempt is not None:
                self._running[worker] = attempt
                self._workers.begin(worker, attempt.item, self._limit(attempt.item))
            elif not self._may_take:
                return  # the source was asked, and has nothing now

    def _choose(self, worker: str) -> _Attempt | None:
        """What an idle worker is to do; what was tried before goes first."""
        if self._last_tries and self._workers.is_fresh(worker):
            return self._last_tries.popleft()
        if len(self._last_tries) > self._workers.num_starting():
            self._workers.renew(worker)
            return None
        if self._again:
            return self._again.popleft()
        item = next(self._source, _END)
        self._is_exhausted = item is _END
        self._may_take = item is not None and item is not _END
        return _Attempt(next(self._indices), item) if self._may_take else None

    def _break(self, worker: str, reason: str) -> Iterator[Event]:
        """Give up what a job has failed on; where it may be one of several, each is tried alone."""
        attempt = self._running.pop(worker)
        first = attempt.first + attempt.num_values
        parts = self._rest(attempt.item, attempt.num_values)
        if len(parts) == 1:
            yield Event(attempt.index, first, worker, Broken(reason))
            return
        for place, part in enumerate(parts, start=first):
            self._again.append(_Attempt(attempt.index, part, place, num_deaths=attempt.num_deaths))

    def _lose(self, worker: str, reason: str) -> Iterator[Event]:
        """Try again what a dead worker has left undone, or give it up."""
        attempt = self._running.pop(worker)
        num_deaths, first = attempt.num_deaths + 1, attempt.first + attempt.num_values
        for place, part in enumerate(self._rest(attempt.item, attempt.num_values), start=first):
            again = _Attempt(attempt.index, part, place, num_deaths=num_deaths)
            if num_deaths > self._retries:
                times = f" {num_deaths} times, at last" if num_deaths > 1 else ""
                yield Event(attempt.index, place, worker, Lost(f"the worker died{times}: {reason}"))
            elif num_deaths == self._retries:
                self._last_tries.append(again)
            else:
                self._again.append(again)
