"""Where the files of a run are, and what `run.json` says."""

import json
import time

import pytest

from evoprune import UserError
from evoprune.common.seals import sealed
from evoprune.runs.folder import RunFolder, timed_stage


def test_no_two_files_of_a_run_have_the_same_place(tmp_path):
    folder = RunFolder(tmp_path)
    places = [
        *(folder.config, folder.reports, folder.output, folder.run_json, folder.base),
        *(folder.importance(name) for name in ("magnitude", "scop")),
        *(folder.sensitivity(name) for name in ("magnitude", "prior")),
        *(folder.pruned(name) for name in ("scop-rate-0.5", "scop-rate-0.6")),
        *(folder.model(key, seed) for key in ("k1", "k2") for seed in (0, 1, 2)),
    ]
    assert len(set(places)) == len(places)
    assert all(tmp_path in place.parents for place in places)


def test_further_seeds_of_a_model_lie_inside_the_first_one(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.model("k1") == tmp_path / "models" / "k1"
    assert folder.model("k1", 2) == tmp_path / "models" / "k1" / "seed_2"


def test_notes_are_merged_into_what_is_there(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.facts() == {}
    folder.note(name="mine", base={"accuracy": 90.0}, workers=[1, 2])
    folder.note(base={"source": "given"}, workers=[3])
    wanted = {"name": "mine", "base": {"accuracy": 90.0, "source": "given"}, "workers": [3]}
    assert folder.facts() == wanted
    assert json.loads((tmp_path / "run.json").read_text()) == sealed(wanted)


def test_a_digit_that_has_changed_is_noticed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.note(base={"accuracy": 91.25})
    folder.run_json.write_text(folder.run_json.read_text().replace("91.25", "97.25"))
    with pytest.raises(UserError, match=r"run\.json: damaged: its checksum"):
        folder.facts()


def test_a_file_that_has_changed_since_it_was_noted_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    file, other = folder.importance("magnitude"), folder.importance("scop")
    file.parent.mkdir()
    for path in (file, other):
        path.write_text("stem,0,1.5\n")
    folder.seal(file)
    folder.check(file)
    file.write_text("stem,0,1.7\n")
    with pytest.raises(UserError, match=r"magnitude\.csv: damaged: it has changed"):
        folder.check(file)
    folder.check(other)  # nothing was noted of it, as by an earlier version
    file.unlink()
    folder.check(file)


def test_seconds_of_a_stage_add_up_over_the_processes_that_worked_on_it(tmp_path):
    folder = RunFolder(tmp_path)
    for _ in range(2):
        with timed_stage(folder, "search"):
            time.sleep(0.11)
    with timed_stage(folder, "retrain"):
        pass
    facts = folder.facts()
    assert facts["seconds"]["search"] >= 0.2 > facts["seconds"]["retrain"]
    assert len(facts["commits"]["search"]) <= 1, "the same commit is noted once"
    assert facts["finished"].startswith("20")


def test_an_interrupted_stage_is_noted_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), timed_stage(RunFolder(tmp_path), "search"):
        raise KeyboardInterrupt
    assert "search" in RunFolder(tmp_path).facts()["seconds"]
