"""Pictures and the table of a run. No torch."""

from evoprune.common.errors import UserError
from evoprune.report.figures import draw_front, draw_hypervolume
from evoprune.report.output import write_front
from evoprune.report.tables import result_table
from evoprune.runs.table import read_rows
from evoprune.search.front import hypervolumes
from evoprune.stages.context import Context


def report(context: Context) -> str:
    """Write `front.png`, `hypervolume.png`, `output.csv` and `table.md`; returns the table.

    Raises:
        UserError: nothing is measured yet.
    """
    folder, experiment, space = context.folder, context.experiment, context.space
    rows = read_rows(folder.reports)
    if not rows:
        raise UserError(f"{folder.reports}: no evaluation is finished yet; `evoprune run` goes on with this run")
    front = write_front(folder, rows, experiment, space)
    names = experiment.search.objectives
    draw_front(folder.path / "front.png", rows, front, names, experiment.report.every)
    draw_hypervolume(folder.path / "hypervolume.png", hypervolumes(rows, names, space), names)
    table = result_table(front, experiment, space, folder.facts()["base"])
    (folder.path / "table.md").write_text(table + "\n", encoding="utf-8")
    return table
