"""Progress: plain lines where the output is a file, bars where somebody looks."""

import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import ROOT

from evoprune.common.progress import Silent, duration, live_text, progress


class Clock:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("evoprune.common.progress.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.4, "0:00:59"), (59.6, "0:01:00"), (3661, "1:01:01"), (360_000, "100:00:00")],
)
def test_durations_by_hand(seconds, text):
    assert duration(seconds) == text


def test_a_line_comes_every_ten_seconds_and_says_how_long_is_left(clock, capsys):
    with progress("train", 10) as meter:
        clock.now += 9
        meter.update(1)
        assert capsys.readouterr().out == ""
        clock.now += 11
        meter.update(4, lambda: "best 91 %")
        assert capsys.readouterr().out == "train: 4/10 in 0:00:20, 0:00:22 left  best 91 %\n"
        clock.now += 2
        meter.update(5)
        assert capsys.readouterr().out == ""


def test_the_end_has_its_line_at_once_and_only_one(clock, capsys):
    with progress("train", 2.5) as meter:
        clock.now += 1
        meter.update(2.5)
        meter.update(2.5)
    assert capsys.readouterr().out == "train: 2.5/2.5 in 0:00:01\n"


def test_what_was_done_before_and_the_start_of_workers_change_nothing(clock, capsys):
    """The speed is that since the first piece of work was done: five in ten seconds."""
    with progress("train", 100, done=80) as meter:
        clock.now += 30
        meter.update(81)
        assert capsys.readouterr().out == "train: 81/100 in 0:00:30\n"
        clock.now += 10
        meter.update(86)
        assert capsys.readouterr().out == "train: 86/100 in 0:00:40, 0:00:28 left\n"


def test_nothing_new_says_nothing_of_the_time_left(clock, capsys):
    with progress("train", 3) as meter:
        clock.now += 10
        meter.update(0)
    assert capsys.readouterr().out == "train: 0/3 in 0:00:10\n"


def test_a_note_is_made_only_where_it_is_shown(clock, capsys):
    made = []

    def note() -> str:
        made.append(clock.now)
        return "x"

    with progress("train", 100) as meter:
        for done in range(30):
            meter.update(done, note)
            clock.now += 1
    assert made == [1010.0, 1020.0]
    Silent().update(1, note)
    assert made == [1010.0, 1020.0]
    capsys.readouterr()


BAR = """
from evoprune.common.progress import progress
with progress("measure", 3) as meter:
    for done in (1, 2, 3):
        meter.update(done, lambda: f"best {done}")
"""


LIVE = """
from evoprune.common.progress import live_text
with live_text() as show:
    show("first block\\n[bold]row[/bold]", "first line")
    show("second block", "second line")
"""


def on_a_terminal(script: str, columns: int = 120) -> str:
    """What a script writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=theirs, cwd=ROOT, env=environment):
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # the end of a terminal, as Linux says it
            pass
    os.close(ours)
    return text.decode()


def test_on_a_terminal_it_is_a_bar():
    shown = on_a_terminal(BAR)
    assert "measure" in shown and "3/3" in shown and "best 1" in shown
    assert "\x1b[" in shown, "a bar is drawn over itself"


def test_a_long_note_takes_a_second_line_beside_the_bar_and_its_numbers():
    """At 100 columns four trade-offs once pressed the bar to nothing; then only one and a half were shown."""
    long = "best accuracy, flops: " + " | ".join(f"9{number}.43 %, 1{number} %" for number in range(4))
    shown = on_a_terminal(BAR.replace("best {done}", long), columns=100)
    wanted = ("measure", "3/3", "left", "0:00:00", "best accuracy, flops:", *(f"9{number}.43" for number in range(4)))
    assert all(part in shown for part in wanted) and "…" not in shown


def test_a_live_text_is_a_block_on_a_terminal():
    shown = on_a_terminal(LIVE)
    assert "first block" in shown and "[bold]row[/bold]" in shown and "second block" in shown
    assert "line" not in shown and "\x1b[" in shown


def test_a_live_text_is_lines_elsewhere_each_of_them_new(capsys):
    with live_text() as show:
        for line in ("1 of 3", "1 of 3", "2 of 3"):
            show("a block", line)
    assert capsys.readouterr().out == "1 of 3\n2 of 3\n"
