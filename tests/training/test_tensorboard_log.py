"""Trainings as TensorBoard reads them: each epoch once, whatever was interrupted."""

import shutil
import sys
from pathlib import Path

import pytest
from helpers import prepared
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evoprune import UserError
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.retrain import retrain
from evoprune.training.loop import Epoch
from evoprune.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log


def epoch(number: int, loss: float) -> Epoch:
    return Epoch(number, 5, loss, 0.1 / number, 1.0)


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values, as TensorBoard shows them."""
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in found.Scalars(name)]


def test_epochs_and_accuracies_are_scalars(tmp_path):
    with open_log(tmp_path, wanted=True) as log:
        for number in (1, 2):
            log.epoch("base", epoch(number, 3.0 - number))
        log.accuracies("base", 80.0, 79.0)
        log.epoch("other", epoch(1, 9.0))
    base = tmp_path / "tensorboard" / "base"
    assert scalars(base, "loss") == [(1, 2.0), (2, 1.0)] and scalars(base, "lr") == [(1, 0.1), (2, 0.05)]
    assert scalars(base, "accuracy/validation") == [(2, 80.0)] and scalars(base, "accuracy/test") == [(2, 79.0)]
    assert scalars(tmp_path / "tensorboard" / "other", "loss") == [(1, 9.0)]


def test_what_goes_on_in_another_process_shows_no_epoch_twice(tmp_path):
    for first, last, loss in ((1, 3, 1.0), (3, 5, 2.0)):
        log = TensorBoardLog(tmp_path)
        for number in range(first, last + 1):
            log.epoch("base", epoch(number, loss))
        log.close()
    assert scalars(tmp_path / "base", "loss") == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


def test_what_begins_anew_takes_back_what_was_there(tmp_path):
    """As where a worker dies and the next one does not see its checkpoint."""
    log = TensorBoardLog(tmp_path)
    for number, loss in ((1, 1.0), (2, 1.0), (1, 2.0), (2, 2.0), (3, 2.0)):
        log.epoch("base", epoch(number, loss))
    log.close()
    assert scalars(tmp_path / "base", "loss") == [(1, 2.0), (2, 2.0), (3, 2.0)]


def test_nothing_is_written_where_it_is_not_wanted(tmp_path):
    with open_log(tmp_path, wanted=False) as log:
        log.epoch("base", epoch(1, 1.0))
        log.accuracies("base", 1.0, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_was_at_its_end_has_no_step_for_its_accuracies(tmp_path):
    with open_log(tmp_path, wanted=True) as log:
        log.accuracies("base", 1.0, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"report\.tensorboard .*pip install 'evoprune\[tensorboard\]'"):
        check_tensorboard()
    with pytest.raises(UserError, match="TensorBoard"), open_log(tmp_path, wanted=True):
        pass


def test_full_trainings_of_a_run_are_there(tiny, copied):
    shutil.rmtree(copied / "models")
    with open_run_folder(copied, tiny(report={"tensorboard": True})) as folder:
        rows = retrain(prepared(tiny(report={"tensorboard": True}), folder))
    trained = [row for row in rows if row.get("test_accuracy") is not None]
    assert len(trained) == 2
    for row in trained:
        events = copied / "tensorboard" / f"{row['key']}-seed-0"
        assert scalars(events, "accuracy/test") == [(1, row["test_accuracy"])] and len(scalars(events, "loss")) == 1
