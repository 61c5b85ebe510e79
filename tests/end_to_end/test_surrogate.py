"""A search with the surrogate: its rows repeat, also where it was interrupted, and each mode learns from all rows."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import die_at, repeated, run_search

from evoprune.runs.table import Table

SEARCH = {"proposal": {"surrogate": 0.5, "evolution": 0.5}, "sensitivity": "measured", "random_samples": 6}


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_search(tiny(search=SEARCH), tmp_path_factory.mktemp("surrogate") / "run")


@pytest.fixture
def search(searched: Path) -> dict[str, Any]:
    """As `SEARCH`, with the curves that are measured."""
    return {**SEARCH, "sensitivity": str(searched / "sensitivity" / "prior.csv")}


def test_both_proposals_have_their_share(searched):
    counts = pd.read_csv(searched / "reports.csv")["proposal"].value_counts()
    assert counts["full"] == 1 and counts["surrogate"] >= 2 and counts["evolution"] >= 2
    assert (searched / "sensitivity" / "prior.csv").is_file()


@pytest.mark.parametrize("measured", [3, 7])
def test_an_interrupted_search_goes_on_to_the_same_rows(searched, search, tiny, tmp_path, monkeypatch, measured):
    real = Table.append
    die_at(monkeypatch, measured)
    with pytest.raises(KeyboardInterrupt):
        run_search(tiny(search=search), tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "reports.csv")) == measured
    monkeypatch.setattr(Table, "append", real)
    run_search(tiny(search=search), tmp_path / "run")
    assert repeated(tmp_path / "run") == repeated(searched)


def test_in_steady_state_it_finds_as_many(search, tiny, tmp_path):
    path = run_search(tiny(search={**search, "mode": "steady_state"}), tmp_path / "run")
    rows = pd.read_csv(path / "reports.csv")
    assert len(rows) == 10 and rows["key"].is_unique and (rows["proposal"] == "surrogate").any()
