"""A search as an Optuna journal: Optuna itself reads it."""

import sys

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from report_rows import rows

from evoprune import UserError
from evoprune.report.optuna_journal import write_journal
from evoprune.search.front import front_rows


def test_optuna_reads_the_trials_and_finds_the_same_front(tiny, small_space, tmp_path):
    table = rows(small_space, 8)
    table[5] = {**table[5], "status": "failed", "accuracy": None, "error": "out of memory"}
    path = tmp_path / "new" / "journal.log"
    write_journal(path, table, tiny(), small_space)
    study = optuna.load_study(study_name="tiny", storage=JournalStorage(JournalFileBackend(str(path))))
    trials = study.get_trials()
    assert [trial.user_attrs["id"] for trial in trials] == list(range(8))
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5 + ["FAIL"] + ["COMPLETE"] * 2
    assert trials[1].values == [89.0, 9900.0] and study.metric_names == ["accuracy", "flops"]
    assert trials[0].params == {f"kept.{segment.name}": 1 for segment in small_space.segments}
    front = {row["key"] for row in front_rows(table, ["accuracy", "flops"])}
    assert {trial.user_attrs["key"] for trial in study.best_trials} == front
    assert trials[5].user_attrs["error"] == "out of memory"


def test_what_breaks_a_limit_is_not_on_the_front_of_optuna(tiny, small_space, tmp_path):
    table = rows(small_space, 4)
    table[0]["status"] = "infeasible"  # the most accurate one
    write_journal(tmp_path / "journal.log", table, tiny(), small_space)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    best = optuna.load_study(study_name="tiny", storage=storage).best_trials
    assert {trial.user_attrs["key"] for trial in best} == {
        row["key"] for row in front_rows(table, ["accuracy", "flops"])
    }
    assert len(best) > 0


def test_a_file_that_is_there_is_left_alone(tiny, small_space, tmp_path):
    path = tmp_path / "journal.log"
    path.write_text("mine")
    with pytest.raises(UserError, match="is there already; choose another file"):
        write_journal(path, rows(small_space, 2), tiny(), small_space)
    assert path.read_text() == "mine"


def test_without_optuna_the_extra_is_named(tiny, small_space, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'evoprune\[optuna\]'"):
        write_journal(tmp_path / "journal.log", rows(small_space, 2), tiny(), small_space)
