"""A copy of a run: all files that are data, whole or not at all, beside a run that stays as it was."""

import shutil
from pathlib import Path

import pytest

from evoprune import UserError
from evoprune.runs.copies import copy_run
from evoprune.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    for name in ("config.yaml", "reports.csv", "models/k1/model.json", ".lock", ".reports.csv.7.part"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
        (path / name).chmod(0o444)
    (path / "outside").symlink_to("/etc/hostname")
    return path


def names(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_copy_has_what_is_data_and_can_be_written_to(run, tmp_path):
    out = copy_run(run, tmp_path / "new" / "copy")
    assert names(out) == ["config.yaml", "copy_of.json", "models/k1/model.json", "reports.csv"]
    assert all(file.stat().st_mode & 0o200 for file in out.rglob("*"))
    assert names(tmp_path / "new") == [f"copy/{name}" for name in names(out)]


def test_no_folder_is_no_copy_and_a_copy_is_made_once(run, tmp_path):
    assert copy_run(run, None) == run
    out = copy_run(run, tmp_path / "copy")
    (out / "reports.csv").write_text("longer")
    assert copy_run(run, out) == out and (out / "reports.csv").read_text() == "longer"


def test_what_lies_there_is_not_written_over(run, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    for out, reason in ((tmp_path / "other", "no copy of a run"), (run / "models" / "copy", "lies inside")):
        with pytest.raises(UserError, match=f"--out: .*{reason}"):
            copy_run(run, out)
    with pytest.raises(UserError, match="not the folder of a run"):
        copy_run(tmp_path / "other", tmp_path / "new")
    assert names(tmp_path / "other") == ["thesis.txt"] and not (tmp_path / "new").exists()


def test_a_copy_that_is_cut_off_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "a")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        copy_run(run, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_copy_of_another_run_is_refused_and_an_old_one_is_told(run, tmp_path, capsys):
    """Once the numbers of another run were reported, or those of last week, without a word."""
    other = Path(shutil.copytree(run, tmp_path / "other", symlinks=True))
    out = copy_run(run, tmp_path / "copy")
    with pytest.raises(UserError, match=f"--out: {out} is a copy of {run}, not of {other}"):
        copy_run(other, out)
    copy_run(run, out)
    assert capsys.readouterr().out == ""
    (run / "reports.csv").chmod(0o644)
    (run / "reports.csv").write_text("longer")
    assert copy_run(run, out) == out and (out / "reports.csv").read_text() == "reports.csv"
    assert "has changed since" in capsys.readouterr().out
    (out / "copy_of.json").unlink()  # as in copies of earlier versions
    assert copy_run(other, out) == out


def test_another_run_is_no_copy(run, tmp_path):
    """No run says that it is no copy; once it was reported under the name of the other one."""
    other = Path(shutil.copytree(run, tmp_path / "other", symlinks=True))
    for folder, started in ((run, "2026-11-28T10:00:00"), (other, "2026-11-29T10:00:00")):
        RunFolder(folder).note(name="mine", started=started)
    with pytest.raises(UserError, match=f"--out: {other} is another run, no copy of {run}"):
        copy_run(run, other)
    assert copy_run(run, run) == run


def test_the_working_folder_is_no_place_for_a_copy(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="is the folder in which the command runs"):
        copy_run(run, Path("."))
