"""A search with `round_to`: widths are multiples or all, and an interrupted search goes the same way."""

import pandas as pd
from helpers import repeated, run_search

SEARCH = {
    "round_to": 2,
    "limits": {"flops": {"max": "70%"}},
    "proposal": {"surrogate": 0.5, "evolution": 0.5},
    "generations": 2,
}


def test_every_width_is_a_multiple_or_all_and_a_search_that_was_stopped_goes_the_same_way(tiny, tmp_path):
    experiment = tiny(search=SEARCH)
    whole = run_search(experiment, tmp_path / "whole")
    rows = pd.read_csv(whole / "reports.csv")
    kept = rows.filter(like="kept.")
    assert len(rows) == 12 and ((kept % 2 == 0) | (kept == kept.iloc[0])).all(axis=None)
    assert (rows.flops[1:] <= 0.7 * rows.flops[0]).all()

    part, lines = tmp_path / "part", (whole / "reports.csv").read_text().splitlines(keepends=True)
    run_search(experiment, part)
    (part / "reports.csv").write_text("".join(lines[:7]))
    assert repeated(run_search(experiment, part)) == repeated(whole)
