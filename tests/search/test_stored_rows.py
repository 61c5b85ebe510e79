"""Rows that were stored: what a search can have written passes, and nothing else does."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from evoprune import UserError
from evoprune.cli import main
from evoprune.config import load_experiment
from evoprune.runs.table import read_rows
from evoprune.search.stored_rows import check_rows
from evoprune.space.from_yaml import load_search_space

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
PATH = Path("reports.csv")


def check(ran: Path, **changes: Any) -> None:
    """Check the rows of a finished run, the third of them changed."""
    rows = read_rows(ran / "reports.csv")
    rows[2] |= changes
    check_rows(rows, load_experiment(str(ran / "config.yaml")), SPACE, PATH)


def test_what_a_search_has_written_passes(ran):
    check(ran)
    check(ran, status="failed", accuracy=None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id is empty"),
        ({"id": 8}, "id is 8, and the search has 8 of them"),
        ({"generation": 10**9}, "generation is 1000000000"),
        ({"rung": 1}, "rung is 1"),
        ({"status": "great"}, "status is 'great'"),
        ({"accuracy": None}, "accuracy is empty"),
        ({"accuracy": float("inf")}, "accuracy is inf"),
        ({"code": "h00"}, "a code of resnet20 is 'h' and"),
        ({"key": "k00000000000"}, "key is k00000000000, but that of its code is k"),
    ],
)
def test_nothing_else_passes(ran, changes, reason):
    with pytest.raises(UserError, match=rf"^reports\.csv: line 4: {reason}"):
        check(ran, **changes)


@pytest.mark.parametrize("column", ["flops", "seconds", "error", "kept.stem"])
def test_a_table_without_a_column_is_refused(ran, column):
    rows = [{name: row[name] for name in row if name != column} for row in read_rows(ran / "reports.csv")]
    with pytest.raises(UserError, match=f"line 2: there is no column {column}"):
        check_rows(rows, load_experiment(str(ran / "config.yaml")), SPACE, PATH)


@pytest.mark.parametrize("key", ["../../victim", "/tmp/victim", "..", "k/../../victim", "k987f38489a1/../../../victim"])
@pytest.mark.parametrize("command", [["retrain"], ["report"], ["retrain", "--set", "retrain.epochs=0.1"]])
def test_a_key_leads_nowhere_else(ran, tmp_path, capsys, key, command):
    """A crafted key once made `retrain` write a model over another one outside of the run, and delete checkpoints."""
    run, victim = tmp_path / "runs" / "run", tmp_path / "victim"
    shutil.copytree(ran, run)
    shutil.copytree(next((ran / "models").iterdir()), victim)
    (victim / "training-1.ckpt").touch()
    before = {path: path.read_bytes() for path in victim.iterdir()}
    for table in ("reports.csv", "output.csv"):
        text = (run / table).read_text()
        for row in read_rows(run / "output.csv" if table == "reports.csv" else ran / "output.csv"):
            text = text.replace(row["key"], key)
        (run / table).write_text(text)
    assert main([command[0], str(run), *command[1:]]) == 2
    said = capsys.readouterr().err
    assert f"{run}/reports.csv: line " in said and "Traceback" not in said
    assert {path: path.read_bytes() for path in victim.iterdir()} == before


@pytest.mark.parametrize("place", [".lock", "models/KEY", "run.json", "importance"])
@pytest.mark.parametrize("command", ["retrain", "report", "watch"])
def test_a_link_leads_nowhere_else(ran, tmp_path, capsys, place, command):
    """`retrain` once wrote and deleted where `models/KEY` led to, and any command emptied what `.lock` led to."""
    run, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(ran, run)
    link = run / place.replace("KEY", next((ran / "models").iterdir()).name)
    if link.exists():
        shutil.move(link, victim)
    else:
        victim.write_text("precious")
    link.symlink_to(victim)
    paths = [victim, *victim.rglob("*")]
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    assert main([command, str(run), *(["--set", "retrain.lr=0.03"] if command == "retrain" else [])]) == 2
    assert f"{link}: is a link, and {run} may hold files and folders alone; remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in paths if path.is_file()} == before


def test_nor_is_a_pipe_read_without_an_end(ran, tmp_path, capsys):
    run = Path(shutil.copytree(ran, tmp_path / "run"))
    (run / "reports.csv").unlink()
    os.mkfifo(run / "reports.csv")
    assert main(["report", str(run)]) == 2
    assert f"{run}/reports.csv: is no file" in capsys.readouterr().err
