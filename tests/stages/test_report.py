"""A report of what a run has: from its rows alone, again and again, without data, models or torch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import refusal

from evoprune import UserError
from evoprune.cli import main
from evoprune.runs.folder import RunFolder
from evoprune.runs.table import write_table
from evoprune.stages.context import Context, context_of_run, recorded_shape
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


def test_runs_are_compared_in_one_picture_and_the_others_are_left_as_they_are(copied, ran, tmp_path, capsys):
    other = Path(shutil.copytree(ran, tmp_path / "other"))
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    words = ["--compare", str(other), "--set", "report.formats=[svg, pdf]"]
    assert main(["report", str(copied), *words]) == 0
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before
    svg = (copied / "comparison.svg").read_text()
    assert (
        ">copied</text>" in svg and ">other</text>" in svg and (copied / "front.pdf").read_bytes().startswith(b"%PDF")
    )
    page = (copied / "report.html").read_text()
    assert '"others":[{"name":"other","network":"resnet20","dataset":"digits"' in page
    assert "comparison.svg" in capsys.readouterr().out


def test_a_search_becomes_an_optuna_journal_on_request(copied, tmp_path, capsys):
    journal = tmp_path / "journal.log"
    assert main(["report", str(copied), "--optuna", str(journal)]) == 0
    assert f"written: {journal}" in capsys.readouterr().out and '"study_name":"tiny"' in journal.read_text()
    assert main(["report", str(copied), "--optuna", str(journal)]) == 2


def test_a_folder_that_is_no_run_cannot_be_compared(copied, tmp_path, capsys):
    assert "not the folder of a run" in refusal(capsys, "report", str(copied), "--compare", str(tmp_path / "nothing"))


def test_curves_that_were_measured_are_in_the_report_and_damaged_ones_are_named(copied, capsys):
    space = context_of_run(copied).space
    table = [{"segment": group.name, "rate": rate, "accuracy": 90.0 - 20 * rate} for group in space.groups
             for rate in (0.0, 0.5, 1.0)]  # fmt: skip
    write_table(RunFolder(copied).sensitivity("magnitude"), table, ["segment", "rate", "accuracy"])
    write_table(RunFolder(copied).sensitivity("scop"), table[:3], ["segment", "rate", "accuracy"])
    assert main(["report", str(copied)]) == 0
    page, said = (copied / "report.html").read_text(), capsys.readouterr().out
    assert '"sensitivity":[{"name":"magnitude","curves":[{"segment"' in page and "[0.5,10.0]" in page
    assert "not in report.html" in said and "scop.csv" in said
