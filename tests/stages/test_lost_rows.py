"""Workers that die in a search: the same result where they die once, a lost row where they always do, and what a
resumed search makes of that.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import repeated, run_search
from mortal_workers import Countdown, mortal_workers

ALWAYS = 10**6
LONGER = {"search": {"random_samples": 4, "num_individual": 4, "generations": 3}}
STEADY = {"search": {**LONGER["search"], "mode": "steady_state"}}
LADDER = {**LONGER, "evaluation": {"epochs": 0.3, "ladder": [{"epochs": 0, "promote": 0.6}], "batch_size": 64}}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "reports.csv", keep_default_na=False, na_values=[""])


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Searches in which nobody dies."""
    root = tmp_path_factory.mktemp("reference")
    keys = {"longer": LONGER, "steady": STEADY, "ladder": LADDER}
    return {name: run_search(tiny(**changes), root / name) for name, changes in keys.items()}


@pytest.mark.parametrize(("name", "changes"), [("longer", LONGER), ("steady", STEADY), ("ladder", LADDER)])
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_search_whose_workers_die_ends_as_one_where_nobody_dies(tiny, reference, tmp_path, name, changes, deaths):
    code = read(reference[name]).code[2]
    deadly = Countdown(code, deaths)
    path = run_search(tiny(**changes), tmp_path / "run", open_workers=mortal_workers(deadly))
    assert deadly.left == 0
    assert repeated(path) == repeated(reference[name])
    assert repeated(path, "output.csv") == repeated(reference[name], "output.csv")


def test_a_batch_is_split_when_it_is_tried_again(tiny, reference, tmp_path):
    """Three candidates go to a worker at once; the one that kills is lost, the others are measured alone."""
    code = read(reference["longer"]).code[1]
    sizes: list[int] = []

    def deadly(item) -> bool:
        sizes.append(len(item.codes))
        return code in item.codes

    experiment = tiny(**LONGER, workers={"backend": "local", "candidates_per_batch": 3})
    path = run_search(experiment, tmp_path / "run", open_workers=mortal_workers(deadly))
    rows = read(path)
    assert rows[rows.code == code].status.tolist() == ["lost"]
    assert (rows[rows.code != code].status == "ok").all() and len(rows) == 16
    assert sizes[0] == 3 and sizes.count(1) >= 5, "two others alone, and the deadly one three times in all"


@pytest.mark.parametrize(("name", "changes"), [("longer", LONGER), ("steady", STEADY), ("ladder", LADDER)])
def test_a_candidate_that_always_kills_is_lost_and_the_search_goes_on(tiny, reference, tmp_path, name, changes):
    whole = read(reference[name])
    code = whole.code[2]
    path = run_search(tiny(**changes), tmp_path / "run", open_workers=mortal_workers(Countdown(code, ALWAYS)))
    rows = read(path)
    (lost,) = rows[rows.status == "lost"].to_dict("records")
    assert (lost["code"], lost["id"]) == (code, whole.id[2])
    assert lost["error"] == "the worker died 3 times, at last: killed by a test"
    assert pd.isna(lost["accuracy"]) and lost["flops"] == whole.flops[2]
    assert rows.id.nunique() == whole.id.nunique()
    assert code not in pd.read_csv(path / "output.csv").code.tolist()


@pytest.mark.parametrize(("name", "changes"), [("longer", LONGER), ("steady", STEADY), ("ladder", LADDER)])
def test_a_resumed_search_measures_what_was_lost_and_nothing_else(tiny, reference, tmp_path, name, changes):
    whole = read(reference[name])
    code = whole.code[2]
    path = run_search(tiny(**changes), tmp_path / "run", open_workers=mortal_workers(Countdown(code, ALWAYS)))
    before = read(path)
    measured: list[str] = []

    def watch(item) -> bool:
        measured.extend(item.codes)
        return False

    run_search(tiny(**changes), path, open_workers=mortal_workers(watch))
    after = read(path)
    assert set(measured) == {code}
    assert "lost" not in after.status.tolist()
    mended = after[(after.code == code) & (after.rung == 0)].iloc[0]
    at_once = whole[(whole.code == code) & (whole.rung == 0)].iloc[0]
    assert mended.accuracy == at_once.accuracy, "as it would have been measured at once"
    others = ["id", "rung", "code", "accuracy", "status", "generation"]
    pd.testing.assert_frame_equal(
        after[after.code != code].sort_values(["id", "rung"])[others].reset_index(drop=True),
        before[before.code != code].sort_values(["id", "rung"])[others].reset_index(drop=True),
    )
    if name != "steady":
        assert mended.generation == before.generation.max(), "it was known only then"
    text = (path / "reports.csv").read_bytes()
    run_search(tiny(**changes), path)
    assert (path / "reports.csv").read_bytes() == text


def test_what_was_lost_in_the_newest_generation_is_as_if_it_were_never_lost(tiny, reference, tmp_path):
    whole = read(reference["longer"])
    code = whole.code.iloc[-2]
    path = run_search(tiny(**LONGER), tmp_path / "run", open_workers=mortal_workers(Countdown(code, ALWAYS)))
    assert read(path).status.tolist().count("lost") == 1
    run_search(tiny(**LONGER), path)
    assert repeated(path) == repeated(reference["longer"])


def test_a_search_goes_on_after_a_loss_from_any_row(tiny, reference, tmp_path):
    """Killed in mid-generation after a loss, then resumed with a worker that lives: no row asks for another code."""
    code = read(reference["longer"]).code[1]
    whole = run_search(tiny(**LONGER), tmp_path / "whole", open_workers=mortal_workers(Countdown(code, ALWAYS)))
    lines = (whole / "reports.csv").read_text().splitlines(keepends=True)
    for kept in (3, 6, 9, 13):
        path = Path(shutil.copytree(whole, tmp_path / f"kept-{kept}"))
        (path / "reports.csv").write_text("".join(lines[: 1 + kept]))
        run_search(tiny(**LONGER), path)
        rows = read(path)
        assert len(rows) == 16 and (rows.status == "ok").all()
        text = (path / "reports.csv").read_bytes()
        run_search(tiny(**LONGER), path)
        assert (path / "reports.csv").read_bytes() == text


def test_lost_points_of_a_curve_are_measured_again_before_the_search_and_not_after(tiny, tmp_path):
    experiment = tiny(search={"sensitivity": "measured"})
    reference = run_search(experiment, tmp_path / "reference")
    table = Path("sensitivity") / "prior.csv"
    code = pd.read_csv(reference / table).code[1]
    path = run_search(experiment, tmp_path / "run", open_workers=mortal_workers(Countdown(code, ALWAYS)))
    points = pd.read_csv(path / table)
    assert (points[points.code == code].status == "lost").all() and (points.status == "lost").any()
    run_search(experiment, path)
    assert (pd.read_csv(path / table).status == "lost").any(), "first codes have followed from the loss"
    (path / "reports.csv").unlink()
    run_search(experiment, path)
    assert repeated(path) == repeated(reference)
