"""Work side by side, and work alone: processes, threads, deaths, and who goes first."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evoprune.workers.turns import Turns

WORK = """
import sys, time
from evoprune.workers.turns import Turns
turns, log = Turns(sys.argv[1]), open(sys.argv[2], "a")
def note(what):
    print(what, time.monotonic(), file=log, flush=True)
for _ in range(int(sys.argv[3])):
    with turns.beside():
        note("work"); time.sleep(0.03); note("work-end")
    with turns.alone():
        note("measure"); time.sleep(0.02); note("measure-end")
"""
HOLD = """
import sys
from evoprune.workers.turns import Turns
with getattr(Turns(sys.argv[1]), sys.argv[2])():
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("evoprune.workers.turns.gettempdir", lambda: str(tmp_path))
    return uuid.uuid4().hex


def intervals(log: Path, what: str) -> list[tuple[float, float]]:
    lines = [line.split() for line in log.read_text().splitlines()]
    times = {kind: [float(at) for name, at in lines if name == kind] for kind in (what, f"{what}-end")}
    return list(zip(times[what], times[f"{what}-end"], strict=True))


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] < second[1] and second[0] < first[1]


def test_while_one_of_two_processes_measures_the_other_runs_no_candidate(name, tmp_path):
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    commands = [[sys.executable, "-c", WORK, name, str(log), "8"] for log in logs]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0]
    measured = [interval for log in logs for interval in intervals(log, "measure")]
    worked = [intervals(log, "work") for log in logs]
    assert len(measured) == 16 and [len(work) for work in worked] == [8, 8]
    assert not any(overlap(one, other) for one in measured for work in worked for other in work)
    assert not any(overlap(one, other) for place, one in enumerate(measured) for other in measured[:place])
    assert any(overlap(one, other) for one in worked[0] for other in worked[1]), "candidates do run side by side"


@pytest.fixture
def holder(name: str) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Starts a process that holds a turn until it is killed."""
    started = []

    def hold(kind: str) -> "subprocess.Popen[str]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", HOLD, name, kind], text=True, **pipes)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("held", ["beside", "alone"])
@pytest.mark.parametrize("wanted", ["beside", "alone"])
def test_a_worker_that_is_killed_gives_its_turn_back(name, holder, held, wanted):
    process, entered = holder(held), threading.Event()

    def enter() -> None:
        with getattr(Turns(name), wanted)():
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert entered.wait(0.2) == (held == wanted == "beside")
    process.kill()
    thread.join(10)
    assert entered.is_set()


def test_who_wants_to_be_alone_goes_before_new_work(name, holder):
    """Threads of this process, while another process works: the measurement came first, and comes first."""
    process, order = holder("beside"), []

    def enter(kind: str) -> None:
        with getattr(Turns(name), kind)():
            order.append(kind)
            time.sleep(0.05)

    threads = []
    for kind in ("alone", "beside"):
        threads.append(threading.Thread(target=enter, args=(kind,)))
        threads[-1].start()
        time.sleep(0.1)
    assert order == [], "new work waits behind the measurement"
    process.kill()
    for thread in threads:
        thread.join(10)
    assert order == ["alone", "beside"]


@pytest.mark.parametrize("kind", ["beside", "alone"])
def test_patience_ends_once_for_both_locks(name, holder, kind):
    holder("alone")
    started = time.monotonic()
    with getattr(Turns(name, patience_s=0.8), kind)():
        assert 0.8 <= time.monotonic() - started < 1.5


def test_other_names_are_other_turns(name, holder):
    holder("alone")
    with Turns(f"{name}-gpu").alone():
        pass
