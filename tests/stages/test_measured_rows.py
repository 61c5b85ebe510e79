"""The rows of a run's search, checked when they are read."""

import pytest
from helpers import without_checks

from evoprune import UserError
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context
from evoprune.stages.measured_rows import measured_rows


def test_rows_come_back_and_a_changed_one_is_named(tiny, copied):
    context = Context(tiny(), RunFolder(copied))
    assert [row["id"] for row in measured_rows(context)] == list(range(8))
    text = without_checks(copied / "reports.csv")
    (copied / "reports.csv").write_text(text.replace("\n5,1,0,", "\n5,1000000000,0,"))
    with pytest.raises(UserError, match=r"reports\.csv: line 7: generation is 1000000000"):
        measured_rows(context)


def test_a_search_that_is_said_to_be_shorter_is_told_so_and_no_line_is_blamed(tiny, copied):
    with pytest.raises(UserError, match=r"search\.generations: got 0, but .* has 1; take as many or more; "):
        measured_rows(Context(tiny(search={"generations": 0}), RunFolder(copied)))
