"""The loop over the workers: who gets what when workers die, on workers whose deaths are written down."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune import UserError
from evoprune.workers.dispatch import Broken, Event, Lost, dispatch
from evoprune.workers.jobs import Died, Done, Failed, Report, Said, Started

Letters = str
"""An item: each letter yields itself in capitals; a worker that comes to a digit dies."""


class MortalWorkers:
    """Workers in one thread, each of which does one letter at a time; who dies starts again at once, or later."""

    def __init__(self, number: int, deadly: Sequence[str] = (), start_after: int = 0):
        self._idle = [f"w{i}" for i in range(number)]
        self._fresh = set(self._idle)
        self._work: dict[str, deque[str]] = {}
        self._starting: dict[str, int] = {}
        self._deadly, self._start_after = list(deadly), start_after
        self.begun: list[tuple[str, str, bool]] = []
        self.renewed: list[str] = []

    def idle(self) -> list[str]:
        return list(self._idle)

    def num_starting(self) -> int:
        return len(self._starting)

    def is_fresh(self, worker: str) -> bool:
        return worker in self._fresh

    def begin(self, worker: str, item: str, limit_s: float | None = None) -> None:
        self._idle.remove(worker)
        self.begun.append((worker, item, worker in self._fresh))
        self._fresh.discard(worker)
        self._work[worker] = deque(item)

    def renew(self, worker: str) -> None:
        self._idle.remove(worker)
        self.renewed.append(worker)
        self._starting[worker] = 0

    def wait(self) -> Report:
        for worker in list(self._starting):
            self._starting[worker] -= 1
            if self._starting[worker] < 0 or not self._work:
                del self._starting[worker]
                self._fresh.add(worker)
                self._idle.append(worker)
                return Started(worker)
        assert self._work, "nobody works"
        worker = next(iter(self._work))
        letters = self._work.pop(worker)
        if not letters:
            self._idle.append(worker)
            return Done(worker)
        letter = letters.popleft()
        if letter == "!":
            self._idle.append(worker)
            return Failed(worker, "! is loud")
        if letter in self._deadly:
            self._deadly.remove(letter)
            self._starting[worker] = self._start_after
            return Died(worker, f"{letter} is deadly")
        self._work[worker] = letters
        return Said(worker, letter.upper())

    def ask(self, question: Any) -> dict[str, Any]:
        return {}


def letter_by_letter(item: Letters, num_values: int) -> list[Letters]:
    return list(item[num_values:])


def values(events: Sequence[Event]) -> dict[tuple[int, int], Any]:
    found = {(event.index, event.part): event.value for event in events}
    assert len(found) == len(events), "a part was reported twice"
    return found


def test_every_value_of_every_item_comes_once():
    events = list(dispatch(MortalWorkers(2), ["ab", "", "c"]))
    assert values(events) == {(0, 0): "A", (0, 1): "B", (2, 0): "C"}


def test_an_item_whose_worker_dies_is_done_again_as_a_whole():
    workers = MortalWorkers(1, deadly="b")
    events = list(dispatch(workers, ["ab"]))
    assert [event.value for event in events] == ["A", "A", "B"]
    assert [item for _, item, _ in workers.begun] == ["ab", "ab"]


def test_a_batch_is_tried_again_in_parts_of_what_is_missing():
    workers = MortalWorkers(2, deadly="b")
    events = list(dispatch(workers, ["abcd", "e"], rest=letter_by_letter))
    assert values(events) == {(0, 0): "A", (0, 1): "B", (0, 2): "C", (0, 3): "D", (1, 0): "E"}
    assert [item for _, item, _ in workers.begun] == ["abcd", "e", "b", "c", "d"]


def test_what_kills_again_and_again_is_lost_and_nothing_else():
    workers = MortalWorkers(2, deadly="bbb")
    events = list(dispatch(workers, ["abc", "d"], retries=2, rest=letter_by_letter))
    assert values(events) == {
        (0, 0): "A",
        (0, 1): Lost("the worker died 3 times, at last: b is deadly"),
        (0, 2): "C",
        (1, 0): "D",
    }


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_last_try_is_in_a_fresh_worker(number):
    workers = MortalWorkers(number, deadly="bb", start_after=3)
    events = list(dispatch(workers, ["b", "a", "a", "a"], retries=2))
    assert values(events)[0, 0] == "B"
    tries = [is_fresh for _, item, is_fresh in workers.begun if item == "b"]
    assert len(tries) == 3 and tries[-1]


def test_a_used_worker_is_renewed_for_a_last_try_where_none_is_being_started():
    workers = MortalWorkers(2, deadly="b", start_after=0)
    events = list(dispatch(workers, iter(["a", "b", "a", "a"]), retries=1))
    assert values(events)[1, 0] == "B"
    assert workers.begun[-1][1:] == ("b", True) or ("b", True) in [(item, fresh) for _, item, fresh in workers.begun]


def test_without_retries_the_first_death_is_the_last():
    events = list(dispatch(MortalWorkers(1, deadly="a"), ["ab"], retries=0, rest=letter_by_letter))
    assert values(events) == {
        (0, 0): Lost("the worker died: a is deadly"),
        (0, 1): Lost("the worker died: a is deadly"),
    }


def test_nobody_waits_for_a_successor():
    workers = MortalWorkers(2, deadly="x", start_after=100)
    events = list(dispatch(workers, ["x", "a", "b", "c", "d"]))
    assert {event.worker for event in events if event.value in "ABCD"} == {"w1"}
    assert [item for _, item, _ in workers.begun][:3] == ["x", "a", "x"], "what was lost goes to the next idle worker"


def test_the_end_waits_for_no_successor():
    workers = MortalWorkers(2, deadly="b", start_after=1000)
    events = list(dispatch(workers, ["b", "a"], retries=0))
    assert values(events) == {(0, 0): Lost("the worker died: b is deadly"), (1, 0): "A"}
    assert workers.num_starting() == 1


def test_items_are_taken_late_and_none_says_nothing_for_now():
    heard: list[str] = []

    def source() -> Iterator[str | None]:
        yield "a"
        while "A" not in heard:
            yield None
        yield "b"

    for event in dispatch(MortalWorkers(3), source()):
        heard.append(event.value)
    assert heard == ["A", "B"]


def test_none_with_nothing_under_way_is_the_end():
    assert list(dispatch(MortalWorkers(1), iter([None, "a"]))) == []


def test_all_workers_gone_is_the_users_to_know():
    class Gone(MortalWorkers):
        def wait(self) -> Report:
            raise UserError("workers: none is left")

    with pytest.raises(UserError, match="none is left"):
        list(dispatch(Gone(0), ["a"]))


@settings(max_examples=200, deadline=None)
@given(
    items=st.lists(st.text("abc", max_size=4), max_size=6),
    deadly=st.lists(st.sampled_from("abc"), max_size=8),
    number=st.integers(1, 3),
    retries=st.integers(0, 3),
    start_after=st.integers(0, 3),
)
def test_whatever_dies_each_part_has_one_value_and_only_deaths_lose_it(items, deadly, number, retries, start_after):
    workers = MortalWorkers(number, deadly, start_after)
    found = values(list(dispatch(workers, items, retries, letter_by_letter)))
    assert set(found) == {(index, part) for index, item in enumerate(items) for part in range(len(item))}
    for (index, part), value in found.items():
        assert value == items[index][part].upper() or isinstance(value, Lost)
    if len(deadly) <= retries:
        assert not any(isinstance(value, Lost) for value in found.values())


def test_what_a_job_raises_on_is_one_broken_value_and_the_rest_of_its_item_is_tried_alone():
    workers = MortalWorkers(1)
    events = list(dispatch(workers, ["ab!cd", "e"], retries=2, rest=letter_by_letter))
    loud = Broken("! is loud")
    assert values(events) == {(0, 0): "A", (0, 1): "B", (0, 2): loud, (0, 3): "C", (0, 4): "D", (1, 0): "E"}
    assert [item for _, item, _ in workers.begun] == ["ab!cd", "!", "c", "d", "e"]


def test_a_whole_item_that_is_raised_on_is_broken_at_once():
    workers = MortalWorkers(1)
    assert values(list(dispatch(workers, ["a!", "b"]))) == {(0, 0): "A", (0, 1): Broken("! is loud"), (1, 0): "B"}
    assert [item for _, item, _ in workers.begun] == ["a!", "b"]


def test_workers_are_told_how_long_each_item_may_take():
    limits = []

    class Limited(MortalWorkers):
        def begin(self, worker: str, item: str, limit_s: float | None = None) -> None:
            limits.append((item, limit_s))
            super().begin(worker, item)

    list(dispatch(Limited(1), ["a", "bb"], limit=len))
    list(dispatch(Limited(1), ["c"]))
    assert limits == [("a", 1), ("bb", 2), ("c", None)]
