"""The rows of a run's search, read from the disk and checked."""

from evoprune.common.objectives import Row
from evoprune.runs.ownership import check_generations
from evoprune.runs.table import read_rows
from evoprune.search.stored_rows import check_rows
from evoprune.stages.context import Context


def measured_rows(context: Context) -> list[Row]:
    """The rows of `reports.csv`.

    Raises:
        UserError: no such file, one with rows that no search of the experiment has written, or a search that is said to
            be shorter than it was.
    """
    check_generations(context.folder, context.experiment)
    rows = read_rows(context.folder.reports)
    check_rows(rows, context.experiment, context.space, context.folder.reports)
    return rows
