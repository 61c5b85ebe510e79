"""A disk without room, as a limit on the size of files: one message, no half-written file, and the command goes on."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import write_experiment
from helpers import ROOT, on_one_core, repeated

from evoprune.cli import main


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    file = write_experiment(
        folder, base={"cache": str(cache)}, search={"generations": 10}
    )  # its table is the largest text
    assert main(["run", file, "--out", str(folder / "run")]) == 0
    return folder / "run"


def run_with_room(file: str, run: Path, size: int) -> subprocess.CompletedProcess:
    """`evoprune run` in a process whose files may have `size` bytes."""
    words = [sys.executable, "-m", "evoprune.cli", "run", file, "--out", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def limit() -> None:
        on_one_core()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(words, env=environment, capture_output=True, text=True, preexec_fn=limit)


def check_told(done: subprocess.CompletedProcess, file: Path) -> None:
    told = [line for line in done.stderr.splitlines() if line.startswith("evoprune: ")]
    assert done.returncode == 75, done.stderr
    assert told == [f"evoprune: {file}: File too large; make room; the same command goes on from here"]
    assert "Traceback" not in done.stderr


def test_no_room_for_the_base_network(whole, tmp_path):
    file, run = str(whole.parent / "tiny.yaml"), tmp_path / "run"
    check_told(run_with_room(file, run, 20_000), run / "base" / "model.safetensors")
    assert not list(run.rglob("*.part"))
    assert main(["run", file, "--out", str(run)]) == 0
    assert repeated(run) == repeated(whole)


@pytest.mark.parametrize("room", [0, 100])
def test_no_room_for_a_row(whole, tmp_path, room):
    file, run = str(whole.parent / "tiny.yaml"), Path(shutil.copytree(whole, tmp_path / "run"))
    table = run / "reports.csv"
    lines = table.read_text().splitlines(keepends=True)
    kept = "".join(lines[:-2])
    table.write_text(kept)
    for name in ("output.csv", "table.md", "report.html", "front.png", "hypervolume.png"):
        (run / name).unlink()
    assert len(kept) > (run / "run.json").stat().st_size + 500, "it can be written again"
    check_told(run_with_room(file, run, len(kept) + room), table)
    assert not list(run.rglob("*.part")) and table.read_text().startswith(kept)
    assert main(["run", file, "--out", str(run)]) == 0
    for name in ("reports.csv", "output.csv"):
        assert repeated(run, name) == repeated(whole, name)
