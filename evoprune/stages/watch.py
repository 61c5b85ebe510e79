"""A run seen from another terminal: how far it is, what it has found. No torch, and no file but `report.html`."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.locks import is_locked
from evoprune.common.model_files import DESCRIPTION_NAME
from evoprune.common.objectives import Row
from evoprune.common.progress import duration, live_text, say
from evoprune.common.signals import Stopped, received
from evoprune.report.compared import ComparedRun, base_of
from evoprune.report.output import tested_front
from evoprune.report.picks import few_rows
from evoprune.report.tables import trade_offs
from evoprune.report.terminal import front_table
from evoprune.runs.folder import RunFolder
from evoprune.runs.live_progress import read_progress
from evoprune.search.front import latest_rows, num_candidates
from evoprune.stages.context import Context, context_of_run
from evoprune.stages.measured_rows import measured_rows
from evoprune.stages.report import write_live_page

_SECONDS_BETWEEN_LOOKS = 5.0


@dataclass(frozen=True)
class View:
    """What a run has come to.

    Attributes:
        progress: how far it is.
        line: how far it is, and its best trade-offs.
        block: the same with a table of networks of the front, for a terminal.
    """

    progress: str
    line: str
    block: str


def watch(path: Path) -> None:
    """Show how far a run is until no process works in it, or Ctrl-C.

    Raises:
        UserError: not the folder of a run, or a damaged file that stays so.
    """
    view = None
    try:
        with live_text() as show:
            for works in _looks(path):
                try:
                    view = look(context_of_run(path))
                except UserError:
                    if not works:
                        raise
                if view is not None and works:
                    show(view.block, view.line)
    except Stopped:
        if received() != "SIGINT":
            raise
        return  # nothing is lost, and nothing is to go on
    if view is not None:
        say(view.block)
    say(f"no process is working in {path} now")


def watch_page(path: Path, overrides: Sequence[str], others: Sequence[ComparedRun]) -> None:
    """Keep `report.html` of a run up to date until no process works in it."""
    known, told = None, ""
    for works in _looks(path):
        stamp = _stamp(RunFolder(path))
        if works and not stamp and not told:
            told = "before the first candidate, there is nothing to draw"
            say(f"not yet: {told}")
        if works and stamp != known and stamp:
            try:
                context = context_of_run(path, overrides)
                write_live_page(context, look(context).progress, others)
                known = stamp
            except UserError as error:  # a table may be half written: the next look decides
                if str(error) != told:
                    say(f"not yet: {error}")
                told = str(error)


def look(context: Context) -> View:
    """How far a run is.

    Raises:
        UserError: a damaged file.
    """
    experiment, folder = context.experiment, context.folder
    rows, stage = measured_rows(context) if folder.reports.exists() else [], read_progress(folder)
    if not rows:
        text = f"{experiment.name}: before the search" + (f"; {stage}" if stage else "")
        return View(text, text, text)
    front = tested_front(folder, rows, experiment)
    done, planned = num_candidates(rows), experiment.num_evaluations
    left = seconds_left(rows, planned, _num_workers(folder.facts()))
    ends = f", about {duration(left)} left" if left else ""
    trained = sum((folder.model(row["key"]) / DESCRIPTION_NAME).is_file() for row in front)
    text = f"{experiment.name}: {done:,} of {planned:,} candidates{ends}" + (f", {trained} trained" if trained else "")
    text += f"; {stage}" if stage else ""
    status = Counter(row["status"] for row in latest_rows(rows))
    counts = ", ".join(f"{number:,} {name}" for name, number in status.items())
    picked = few_rows(front, experiment.search.objectives)
    base = {**base_of(rows, context.space), "test_accuracy": folder.facts().get("base", {}).get("test_accuracy")}
    table = front_table(picked, base)
    shown = f"{len(front):,} on the front" + (f", {len(picked)} shown" if len(picked) < len(front) else "")
    return View(text, f"{text}; {trade_offs(rows, experiment)}", f"{text}\n{counts}; {shown}\n{table}")


def seconds_left(rows: Sequence[Row], planned: int, workers: int) -> float:
    """Seconds until all candidates are measured, if those to come take as long as those before; 0 where none are."""
    done = num_candidates(rows)
    taken = sum(row["seconds"] or 0.0 for row in rows)
    return max(0, planned - done) * taken / max(1, done) / max(1, workers)


def _num_workers(facts: dict[str, Any]) -> int:
    kinds = facts.get("workers")
    numbers = [kind.get("workers") for kind in kinds if isinstance(kind, dict)] if isinstance(kinds, list) else []
    return sum(number for number in numbers if isinstance(number, int))


def _looks(path: Path) -> Iterator[bool]:
    """True again and again while a process works in the folder, and False at the end."""
    while is_locked(path):
        yield True
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    yield False


def _stamp(folder: RunFolder) -> tuple[float, ...]:
    """Another one when candidates, trained networks or facts of the run have changed; empty without candidates."""
    if not folder.reports.exists():
        return ()
    trained = sorted(folder.path.glob(f"models/**/{DESCRIPTION_NAME}"))
    return tuple(number for path in (folder.reports, folder.run_json, *trained) if path.exists()
                 for number in (path.stat().st_mtime, path.stat().st_size))  # fmt: skip
