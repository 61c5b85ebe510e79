"""A run seen from another terminal, while it goes on and when it has ended."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import refusal

from evoprune.cli import main
from evoprune.common.locks import lock_folder
from evoprune.report.terminal import COLUMNS
from evoprune.runs.folder import RunFolder
from evoprune.stages import watch as module
from evoprune.stages.context import context_of_run
from evoprune.stages.watch import look, seconds_left


@pytest.fixture
def goes_on(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Callable[[], object]]], None]]:
    """A process works in the run: each look waits for the next of some things to happen, then the process ends."""
    lock = lock_folder(copied)
    lock.__enter__()
    held = [lock]

    def run(events: list[Callable[[], object]]) -> None:
        waiting = iter(events)

        def sleep(_: float) -> None:
            happen = next(waiting, None)
            if happen is None:
                held.pop().__exit__(None, None, None)
            else:
                happen()

        monkeypatch.setattr(module.time, "sleep", sleep)

    yield run
    for each in held:
        each.__exit__(None, None, None)


def cut(run: Path, number: int, torn: str = "") -> None:
    """Leave the first rows of a run, and perhaps a row that is half written."""
    whole = (run.parent / "whole.csv").read_text().splitlines(keepends=True)
    (run / "reports.csv").write_text("".join(whole[: number + 1]) + torn)


@pytest.fixture(autouse=True)
def _whole(copied: Path) -> None:
    shutil.copy(copied / "reports.csv", copied.parent / "whole.csv")


def test_the_time_left_is_that_of_the_candidates_before():
    rows = [{"id": 0, "seconds": 6.0}, {"id": 0, "seconds": 2.0}, {"id": 1, "seconds": None}]
    assert seconds_left(rows, 12, 2) == 10 * 4.0 / 2, "8 s for two candidates, ten to come, two workers"
    assert seconds_left(rows, 2, 2) == 0 and seconds_left([], 8, 0) == 0


def test_a_look_says_how_far_a_run_is_and_what_it_has_found(copied):
    cut(copied, 3)
    view = look(context_of_run(copied))
    assert view.line.startswith("tiny: 3 of 8 candidates, about 0:00:0") and "best accuracy, flops: " in view.line
    first, counts, head, base, *networks = view.block.splitlines()
    assert view.line.startswith(first) and counts.startswith("3 ok; ") and head.startswith("network")
    assert base.startswith("base network") and networks
    assert max(map(len, view.block.splitlines())) <= COLUMNS


def test_the_dearest_networks_come_first(copied):
    _, _, _, _, *networks = look(context_of_run(copied)).block.splitlines()
    flops = [int(line.replace(" %", "").replace(",", "").split()[-3]) for line in networks]
    assert len(flops) > 2 and flops == sorted(flops, reverse=True)


def test_a_run_before_its_search_has_no_table(copied):
    (copied / "reports.csv").unlink()
    assert look(context_of_run(copied)).block == "tiny: before the search"


def test_a_look_says_how_far_a_long_stage_is(copied):
    note = {"title": "full training, epochs", "done": 12, "total": 36, "left": 60.0}
    RunFolder(copied).progress.write_text(json.dumps(note))
    assert "2 trained; full training, epochs: 12 of 36, about 0:01:00 left" in look(context_of_run(copied)).line
    (copied / "reports.csv").unlink()
    assert look(context_of_run(copied)).line.startswith("tiny: before the search; full training, epochs: 12 of 36")


def test_lines_follow_a_run_to_its_end(copied, goes_on, capsys):
    """Rows that are half written are not counted, and a damaged table is looked at again."""
    cut(copied, 0)
    goes_on([lambda: cut(copied, 2, "2,0,0,evo"), lambda: cut(copied, 1, "bad\n7,0"), lambda: cut(copied, 8)])
    capsys.readouterr()
    assert main(["watch", str(copied)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: before the search"
    assert [line[:6] for line in lines if line.startswith("tiny: ") and "best" in line] == ["tiny: "] * 2
    assert lines[1].startswith("tiny: 2 of 8 candidates") and lines[2].startswith(
        "tiny: 8 of 8 candidates, 2 trained; "
    )
    assert lines[-1] == f"no process is working in {copied} now"
    table = lines[lines.index("tiny: 8 of 8 candidates, 2 trained") :]
    assert max(map(len, table[:-1])) <= COLUMNS and sum(line.startswith("k") for line in table) >= 2


def test_who_leaves_loses_nothing(copied, goes_on, capsys):
    """Ctrl-C is how people end it; that the same command goes on is nothing to tell them."""
    goes_on([lambda: signal.raise_signal(signal.SIGINT)])
    capsys.readouterr()
    assert main(["watch", str(copied)]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_that_nobody_works_on_is_shown_once(copied, capsys):
    assert main(["watch", str(copied)]) == 0
    assert "tiny: 8 of 8 candidates" in capsys.readouterr().out


def test_what_stays_damaged_is_named(copied, tmp_path, capsys):
    (copied / "reports.csv").write_text("id\nbad\n7\n")
    assert "reports.csv" in refusal(capsys, "watch", str(copied))
    assert "not the folder of a run" in refusal(capsys, "watch", str(tmp_path / "nothing"))


def test_a_page_is_written_again_whenever_the_table_has_grown(copied, goes_on, capsys):
    pages: list[str] = []

    def grow(number: int) -> None:
        pages.append((copied / "report.html").read_text())
        cut(copied, number)

    cut(copied, 2)
    table = (copied / "table.md").read_text()
    goes_on([lambda: grow(5), lambda: grow(5), lambda: grow(8)])
    assert main(["report", str(copied), "--watch"]) == 0
    totals = [page.split('"total":')[1].split(",")[0] for page in (*pages, (copied / "report.html").read_text())]
    assert totals == ["2", "5", "5", "8"]
    assert all('"live":true' in page for page in pages)
    assert '"live":false' in (copied / "report.html").read_text(), "the last one is the whole report"
    assert (copied / "table.md").read_text() == table


def test_a_page_is_written_again_when_a_network_is_trained(copied, goes_on):
    pages: list[str] = []
    trained = sorted(copied.glob("models/*/model.json"))
    away = [path.rename(path.with_suffix(".away")) for path in trained[:1]]

    def train() -> None:
        pages.append((copied / "report.html").read_text())
        for path in away:
            path.rename(path.with_suffix(".json"))

    goes_on([train, lambda: pages.append((copied / "report.html").read_text())])
    assert main(["report", str(copied), "--watch"]) == 0
    stages = [page.split('"stage":"')[1].split('"')[0] for page in pages]
    assert stages == ["tiny: 8 of 8 candidates, 1 trained", "tiny: 8 of 8 candidates, 2 trained"]


def test_a_page_waits_for_a_table_that_is_half_written(copied, goes_on, capsys):
    cut(copied, 1, "bad\n7,0")
    goes_on([lambda: None, lambda: cut(copied, 8)])
    assert main(["report", str(copied), "--watch"]) == 0
    assert capsys.readouterr().out.count("not yet: ") == 1, "said once"


def test_watching_loads_no_torch(copied):
    script = "import sys\nfrom evoprune.cli import main\nassert main(['watch', sys.argv[1]]) == 0\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, str(copied)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "ray", "pymoo"} & set(done.stdout.splitlines()[-1].split())
