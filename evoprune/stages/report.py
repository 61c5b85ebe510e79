"""Pictures and tables of a run. No torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.objectives import Row
from evoprune.common.progress import say
from evoprune.config import Experiment
from evoprune.pruning.importance.sensitivity import curves_of
from evoprune.report.compared import ComparedRun, compared_run, with_short_names
from evoprune.report.figures import draw_comparison, draw_front, draw_hypervolume
from evoprune.report.latencies import base_latency_ms, latency_text
from evoprune.report.output import tested_front, write_front, write_hypervolumes
from evoprune.report.page import PAGE_NAME, write_page
from evoprune.report.page_data import compared_data, page_data, sensitivity_data
from evoprune.report.picks import shown_rows
from evoprune.report.published import published_for
from evoprune.report.tables import result_table
from evoprune.report.terminal import front_table
from evoprune.runs.folder import RunFolder
from evoprune.runs.table import read_rows
from evoprune.search.front import full_row, hypervolumes
from evoprune.space.costs import code_costs
from evoprune.stages.context import Context
from evoprune.stages.measured_rows import measured_rows


def report(context: Context, others: Sequence[ComparedRun] = ()) -> str:
    """Write `report.html`, `output.csv`, `hypervolume.csv`, pictures and `table.md`.

    Args:
        context: of the run.
        others: runs whose fronts are drawn beside this one's.

    Returns:
        A table for a terminal.

    Raises:
        UserError: nothing is measured yet.
    """
    folder, experiment, space = context.folder, context.experiment, context.space
    rows = _rows(context)
    front = write_front(folder, rows, experiment, space)
    names, pictures = experiment.search.objectives, experiment.report
    draw_front(pictures.files(folder.path / "front"), rows, front, experiment, published_for(experiment, space))
    volumes = hypervolumes(rows, names, space)
    draw_hypervolume(pictures.files(folder.path / "hypervolume"), volumes, names)
    write_hypervolumes(folder.path / "hypervolume.csv", rows, names, space)
    runs = _side_by_side(context, rows, others)
    if others:
        draw_comparison(pictures.files(folder.path / "comparison"), runs, names)
    base = {**_base_facts(folder), "latency": base_latency_ms(folder)}
    searched = full_row(rows)
    if searched is not None:  # as all others were measured, which may be after a short training
        base["validation_accuracy"] = searched["accuracy"]
    sensitivity = _sensitivity(context, lambda fault: say(f"not in {PAGE_NAME}: {fault}"))
    write_page(folder, experiment.name, {**_data(context, rows, front, runs), "sensitivity": sensitivity})
    said = "".join(f"\n{line}\n" for line in [latency_text(folder)] if line)
    write_atomically(folder.path / "table.md", result_table(front, experiment, space, base) + f"\n{said}")
    measured = {"accuracy": base["validation_accuracy"], "test_accuracy": base["test_accuracy"]}
    known = {**code_costs(space, space.full_code()), **measured, "latency": base["latency"]}
    return front_table(shown_rows(front, experiment), known) + said.rstrip()


def write_live_page(context: Context, stage: str, others: Sequence[ComparedRun] = ()) -> None:
    """Write `report.html` of a run that goes on, and nothing else.

    Args:
        context: of the run.
        stage: how far it is.
        others: as in `report`.

    Raises:
        UserError: nothing is measured yet.
    """
    rows = _rows(context)
    front = tested_front(context.folder, rows, context.experiment)
    data = _data(context, rows, front, _side_by_side(context, rows, others))
    live = {"sensitivity": _sensitivity(context, lambda _: None), "live": True, "stage": stage}
    write_page(context.folder, context.experiment.name, {**data, **live})


def other_run(other: Context, experiment: Experiment) -> ComparedRun:
    """A run that the one of `experiment` is compared with."""
    return compared_run(other.folder, _rows(other), other.experiment, other.space, experiment.search.objectives)


def _rows(context: Context) -> list[Row]:
    rows, path = measured_rows(context), context.folder.reports
    if not rows:
        raise UserError(f"{path}: no evaluation is finished yet; `evoprune run` goes on with this run")
    return rows


def _side_by_side(context: Context, rows: Sequence[Row], others: Sequence[ComparedRun]) -> list[ComparedRun]:
    """This run and the others, by names that differ."""
    names = context.experiment.search.objectives
    return with_short_names([compared_run(context.folder, rows, context.experiment, context.space, names), *others])


def _data(context: Context, rows: Sequence[Row], front: Sequence[Row], runs: Sequence[ComparedRun]) -> dict[str, Any]:
    data = page_data(rows, front, context.experiment, context.space)
    measures = [measure["name"] for measure in data["measures"]]
    tested = context.folder.facts().get("base", {}).get("test_accuracy")
    return {
        **data,
        "base": {**data["base"], "test": tested},
        "name": runs[0].name,
        "others": compared_data(runs[1:], measures),
    }


def _sensitivity(context: Context, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Curves of every table that is whole; what is wrong with another one is told."""
    found = []
    for path in context.folder.sensitivities:
        try:
            found.append(sensitivity_data(path.stem, curves_of(read_rows(path), context.space, path)))
        except UserError as error:
            tell(str(error))
    return found


def _base_facts(folder: RunFolder) -> Mapping[str, float]:
    base = folder.facts().get("base", {})
    for name in ("validation_accuracy", "test_accuracy"):
        if not isinstance(base.get(name), int | float):
            raise UserError(f"{folder.run_json}: says no {name} of the base network; `evoprune run` notes it again")
    found: Mapping[str, float] = base
    return found
