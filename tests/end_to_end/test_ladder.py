"""Whole searches that climb the fidelity ladder, rung by rung."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import repeated, run_search

LADDER = [{"epochs": 0, "promote": 0.5}, {"epochs": 0.5, "promote": 0.3}]
THREE_RUNGS: dict[str, Any] = {"evaluation": {"epochs": 1.0, "batch_size": 64, "ladder": LADDER}}


@pytest.fixture(scope="module")
def climbed(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search with three rungs in this process; tests copy it before they change anything."""
    return run_search(tiny(**THREE_RUNGS), tmp_path_factory.mktemp("runs") / "climbed")


def test_each_generation_climbs_the_ladder(climbed):
    reports = pd.read_csv(climbed / "reports.csv")
    assert reports.groupby(["generation", "rung"]).size().to_dict() == {
        (generation, rung): number for generation in (0, 1) for rung, number in enumerate([4, 2, 1])
    }
    assert reports.groupby("rung").epochs.unique().map(list).to_dict() == {0: [0.0], 1: [0.5], 2: [1.0]}
    places = list(zip(reports.id, reports.rung, strict=True))
    assert places == sorted(places) and len(set(places)) == len(reports)
    for _, rungs in reports.groupby("id"):
        assert rungs.rung.tolist() == list(range(len(rungs))) and rungs.key.nunique() == 1


def test_the_front_is_of_each_candidates_highest_rung(climbed):
    reports, output = pd.read_csv(climbed / "reports.csv"), pd.read_csv(climbed / "output.csv")
    last = reports.groupby("id").tail(1)
    wanted = [
        (a.id, a.rung)
        for a in last.itertuples()
        if not any(
            b.accuracy >= a.accuracy and b.flops <= a.flops and (b.accuracy, b.flops) != (a.accuracy, a.flops)
            for b in last.itertuples()
        )
    ]
    assert sorted(zip(output.id, output.rung, strict=True)) == sorted(wanted)


def test_ray_workers_climb_the_same_ladder(tiny, climbed, tmp_path):
    experiment = tiny(**THREE_RUNGS, workers={"backend": "ray", "num_workers": 2})
    assert repeated(run_search(experiment, tmp_path / "ray")) == repeated(climbed)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_search_goes_on_from_any_rung(tiny, climbed, tmp_path, shuffled):
    """From every place in the file, in the order in which one worker writes it, or two that overtake each other."""
    experiment = tiny(**THREE_RUNGS)
    header, *lines = (climbed / "reports.csv").read_text().splitlines(keepends=True)
    place = {name: header.split(",").index(name) for name in ("id", "generation", "rung")}
    written = sorted(lines, key=lambda line: [int(line.split(",")[place[name]]) for name in ("generation", "rung")])
    for kept in range(0, len(written), 3):
        beginning = written[:kept]
        if shuffled and kept > 1:
            beginning[-2:] = beginning[:-3:-1]
        path = Path(shutil.copytree(climbed, tmp_path / f"{kept}"))
        torn = written[kept][: len(written[kept]) // 2]
        (path / "reports.csv").write_text(header + "".join(beginning) + torn)
        (path / "output.csv").unlink()
        run_search(experiment, path)
        assert repeated(path) == repeated(climbed)
        assert repeated(path, "output.csv") == repeated(climbed, "output.csv")
        seconds = pd.read_csv(climbed / "reports.csv").seconds
        assert (pd.read_csv(path / "reports.csv").seconds == seconds).sum() >= kept, "measured again"
