"""How far a long stage is, as another process reads it."""

from pathlib import Path

import pytest

from evoprune.runs import live_progress as module
from evoprune.runs.folder import RunFolder
from evoprune.runs.live_progress import StageProgress, read_progress, stage_progress


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def left(folder: RunFolder) -> float | None:
    found = read_progress(folder)
    assert found is not None
    return found.left


def test_a_stage_is_noted_while_it_goes_on(folder, clock):
    assert read_progress(folder) is None
    with stage_progress(folder, "epochs", 10) as meter:
        assert read_progress(folder) == StageProgress("epochs", 0, 10, None)
        clock[0] += 5
        meter.update(1)
        clock[0] += 10
        meter.update(3)
        assert read_progress(folder) == StageProgress("epochs", 3, 10, 7 * 5.0)
    assert read_progress(folder) is None, "nothing is left when it ends"


def test_what_an_earlier_process_did_makes_nothing_faster(folder, clock):
    """A training that is continued begins with 90 of its 100 epochs, and the ten to come take as long as ever."""
    with stage_progress(folder, "epochs", 100) as meter:
        clock[0] += 60
        meter.update(91)
        assert left(folder) is None, "one piece of work says nothing of its time"
        clock[0] += 60
        meter.update(92)
        assert left(folder) == 8 * 60


def test_a_note_is_not_written_at_every_step(folder, clock):
    with stage_progress(folder, "epochs", 10) as meter:
        meter.update(1)
        assert read_progress(folder) == StageProgress("epochs", 0, 10, None)


def test_a_disk_that_takes_no_note_does_not_stop_the_work(folder, clock, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    with stage_progress(folder, "epochs", 2) as meter:
        clock[0] += 60
        meter.update(2)
    assert "epochs: 2/2" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"title": "epochs"}', '{"other": 1}'])
def test_a_note_that_is_none_is_passed_over(folder, text):
    folder.progress.write_text(text)
    assert read_progress(folder) is None


def test_it_reads_as_a_sentence():
    assert str(StageProgress("epochs", 0.5, 2, None)) == "epochs: 0.5 of 2"
    assert str(StageProgress("epochs", 1, 2, 3600.0)) == "epochs: 1 of 2, about 1:00:00 left"
