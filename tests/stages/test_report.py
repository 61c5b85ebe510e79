"""A report of what a run has: from its rows alone, again and again, without data, models or torch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from evoprune import UserError
from evoprune.cli import main
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context, recorded_shape
from evoprune.stages.report import report

WATCHED = "import sys\nfrom evoprune.cli import main\nassert main(['report', sys.argv[1]]) == 0\nprint(*sys.modules)"


def test_a_report_without_models_keeps_what_output_says(copied: Path):
    assert main(["report", str(copied)]) == 0
    before = (copied / "output.csv").read_text()
    assert pd.read_csv(copied / "output.csv").test_accuracy.notna().sum() == 2
    shutil.rmtree(copied / "models")
    assert main(["report", str(copied)]) == 0
    assert (copied / "output.csv").read_text() == before


def test_a_report_needs_no_data(copied: Path):
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("dataset: digits", "dataset: npz"))
    table = (copied / "table.md").read_text()
    assert main(["report", str(copied)]) == 0
    assert (copied / "table.md").read_text() == table


def test_report_draws_again_and_prints_the_table(copied, capsys):
    for name in ("front.png", "hypervolume.png", "table.md"):
        (copied / name).unlink()
    assert main(["report", str(copied)]) == 0
    said = capsys.readouterr().out
    assert all(key in said for key in re.findall(r"k\w{11}", (copied / "table.md").read_text()))
    assert all(len(line) <= 100 for line in said.splitlines() if not line.startswith("results: "))
    for name in ("front.png", "hypervolume.png"):
        assert (copied / name).read_bytes().startswith(b"\x89PNG")


def test_report_of_a_run_without_a_row_is_no_crash(tiny, copied):
    header = (copied / "reports.csv").read_text().splitlines(keepends=True)[0]
    (copied / "reports.csv").write_text(header)
    with pytest.raises(UserError, match=r"reports\.csv: no evaluation is finished yet"):
        report(Context(tiny(), RunFolder(copied), recorded_shape(RunFolder(copied))))


def test_report_does_not_need_the_row_of_the_full_network(copied):
    lines = (copied / "reports.csv").read_text().splitlines(keepends=True)
    (copied / "reports.csv").write_text("".join([lines[0], *lines[2:]]))
    assert main(["report", str(copied)]) == 0


def test_it_loads_neither_torch_nor_pymoo(copied):
    done = subprocess.run([sys.executable, "-c", WATCHED, str(copied)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "matplotlib" in modules, "it has drawn"
    assert not modules & {"torch", "torchvision", "pymoo", "ray", "numba", "sklearn"}
