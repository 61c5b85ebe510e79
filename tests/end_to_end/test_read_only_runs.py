"""A run's folder that cannot be written to: one message, and reported and retrained from elsewhere."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from commands import refusal
from helpers import without_checks

from evoprune.cli import main

NOBODY = 65534


def lock(run: Path) -> dict[Path, tuple[bytes, int]]:
    """Take the right to write away; returns what each file holds, and when it was written."""
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return state(run)


def state(run: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, who may write anywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def read_only(ran: Path) -> Iterator[Path]:
    """Where others may read: the folders of tests are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = Path(shutil.copytree(ran, Path(folder) / "run"))
        yield run
        for path in [run, *run.rglob("*")]:
            path.chmod(0o755)


def test_it_is_told_in_one_message(read_only, capsys):
    before = lock(read_only)
    with as_nobody():
        said = refusal(capsys, "report", str(read_only))
    assert said.count("\n") == 1 and str(read_only) in said and "--out" in said
    assert state(read_only) == before


def test_it_is_reported_and_retrained_elsewhere(read_only, tmp_path):
    before = lock(read_only)
    rows = pd.read_csv(read_only / "output.csv").dropna(subset="test_accuracy")
    report, trained = tmp_path / "report", tmp_path / "trained"
    assert main(["report", str(read_only), "--out", str(report)]) == 0
    assert (report / "report.html").is_file() and (report / "table.md").is_file()
    chosen = [f"--set=retrain.select=[{rows.key.iloc[0]}]", "--set=retrain.lr=0.03"]
    for _ in range(2):  # the second time goes on in the copy
        assert main(["retrain", str(read_only), "--out", str(trained), *chosen]) == 0
    assert state(read_only) == before
    again = pd.read_csv(trained / "output.csv").dropna(subset="test_accuracy")
    assert again.key.tolist() == rows.key.tolist()
    assert again.test_accuracy.iloc[1:].tolist() == rows.test_accuracy.iloc[1:].tolist()
    assert without_checks(trained / "reports.csv") == without_checks(read_only / "reports.csv")
