"""A finished search goes on with more generations, and what it has measured stays as it was."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import die_at, repeated, run_search


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_a_finished_search_goes_on_with_more_generations(tiny, tmp_path, monkeypatch, mode):
    search = {"mode": mode, "prior_fade": 0.5}
    path = run_search(tiny(search={**search, "generations": 2}), tmp_path / "run")
    before = (path / "reports.csv").read_text()
    longer = tiny(search={**search, "generations": 4})
    cut = Path(shutil.copytree(path, tmp_path / "cut"))
    run_search(longer, path)
    assert (path / "reports.csv").read_text().startswith(before)
    assert pd.read_csv(path / "reports.csv").generation.value_counts().to_dict() == dict.fromkeys(range(5), 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        die_at(patch, 3)
        run_search(longer, cut)
    run_search(longer, cut)
    assert repeated(cut) == repeated(path), "interrupted in what was added"


def test_what_was_planned_first_decides_how_far_a_search_has_come(tiny, tmp_path, monkeypatch):
    """The first generations of a search that was made longer are those of the short one, not of the long one.

    The long ones end as soon as these generations are there.
    """
    search = {"generations": 2, "prior_fade": 0.5, "num_individual": 8}
    short = run_search(tiny(search=search), tmp_path / "short")
    first = pd.read_csv(short / "reports.csv").key.tolist()
    assert len(first) == 20
    for name, rows in (("long", 20), ("short", 1)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            die_at(patch, rows)
            run_search(tiny(search={**search, "generations": 6}), tmp_path / name)
    assert pd.read_csv(tmp_path / "long" / "reports.csv").key.tolist() != first, "else this shows nothing"
    keys = pd.read_csv(short / "reports.csv").key.tolist()
    assert len(keys) == 21 and keys[:20] == first
