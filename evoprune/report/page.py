"""`report.html`: all of a run in one file that opens offline.

The page is a template of our own beside this file, plain SVG and script. Charting libraries that inline everything draw
points that the keyboard cannot reach, and bring a megabyte of script.
"""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from evoprune.common.files import write_atomically
from evoprune.common.objectives import Row
from evoprune.config import Experiment
from evoprune.report.page_data import page_data
from evoprune.runs.folder import RunFolder
from evoprune.space.space import SearchSpace

PAGE_NAME = "report.html"
_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(
    folder: RunFolder, rows: Sequence[Row], front: Sequence[Row], experiment: Experiment, space: SearchSpace
) -> None:
    """Write `report.html` of a run: under 2 MB, without a link to anything outside.

    Args:
        folder: of the run.
        rows: of `reports.csv`.
        front: of `output.csv`.
        experiment: the run's.
        space: the search space.
    """
    facts = folder.facts()
    told = {name: facts[name] for name in ("started", "finished", "seconds", "hardware", "workers") if name in facts}
    data = {**page_data(rows, front, experiment, space), "run": str(folder.path), "space": space.name, "facts": told}
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no `</script>` inside a script
    page = _TEMPLATE.read_text(encoding="utf-8").replace("%TITLE%", escape(experiment.name))
    write_atomically(folder.path / PAGE_NAME, page.replace('"%DATA%"', text))
