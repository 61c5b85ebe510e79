"""The columns of `reports.csv`: as documented, and one per segment."""

import re

import pytest
from helpers import ROOT

from evoprune.runs.reports_csv import report_columns
from evoprune.space.space import SearchSpace


@pytest.mark.parametrize("with_latency", [False, True])
def test_every_column_is_explained_in_the_order_of_the_table(small_space: SearchSpace, with_latency: bool):
    names = [segment.name for segment in small_space.segments]
    columns = report_columns(names, with_latency)
    first, last = columns.index("kept.layer1.0.middle"), columns.index("code")
    assert columns[first:last] == [f"kept.{name}" for name in names]
    shown = [*columns[:first], "kept.SEGMENT", *columns[last:], "check"]
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split("## `reports.csv` and `output.csv`")[1]
    table = page.split("`output.csv` has these columns too")[0]
    documented = re.findall(r"`([\w.]+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.M)))
    assert [name for name in documented if with_latency or not name.startswith("latency")] == shown
