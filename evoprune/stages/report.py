"""Pictures and the table of a run. No torch."""

from collections.abc import Mapping

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.report.figures import draw_front, draw_hypervolume
from evoprune.report.output import write_front, write_hypervolumes
from evoprune.report.page import write_page
from evoprune.report.tables import result_table
from evoprune.runs.folder import RunFolder
from evoprune.search.front import hypervolumes
from evoprune.stages.context import Context
from evoprune.stages.measured_rows import measured_rows


def report(context: Context) -> str:
    """Write `report.html`, `output.csv`, `hypervolume.csv`, two pictures and `table.md`; returns the table.

    Raises:
        UserError: nothing is measured yet.
    """
    folder, experiment, space = context.folder, context.experiment, context.space
    rows = measured_rows(context)
    if not rows:
        raise UserError(f"{folder.reports}: no evaluation is finished yet; `evoprune run` goes on with this run")
    front = write_front(folder, rows, experiment, space)
    names = experiment.search.objectives
    draw_front(folder.path / "front.png", rows, front, names, experiment.report.every)
    draw_hypervolume(folder.path / "hypervolume.png", hypervolumes(rows, names, space), names)
    write_hypervolumes(folder.path / "hypervolume.csv", rows, names, space)
    table = result_table(front, experiment, space, _base_facts(folder))
    write_page(folder, rows, front, experiment, space)
    write_atomically(folder.path / "table.md", table + "\n")
    return table


def _base_facts(folder: RunFolder) -> Mapping[str, float]:
    base = folder.facts().get("base", {})
    for name in ("validation_accuracy", "test_accuracy"):
        if not isinstance(base.get(name), int | float):
            raise UserError(f"{folder.run_json}: says no {name} of the base network; `evoprune run` notes it again")
    found: Mapping[str, float] = base
    return found
