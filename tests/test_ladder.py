"""The fidelity ladder: who is promoted, by hand, and whole runs with rungs."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import repeated, run_search

from evoprune import UserError
from evoprune.config import LimitConfig, parse_experiment
from evoprune.search.pareto import crowding, ranks
from evoprune.search.promotion import best, promoted
from evoprune.space.limits import Limits, make_limits
from evoprune.space.space import SearchSpace

OBJECTIVES = ("accuracy", "flops")
LADDER = [{"epochs": 0, "promote": 0.5}, {"epochs": 0.5, "promote": 0.3}]
THREE_RUNGS = {"evaluation": {"epochs": 1.0, "batch_size": 64, "ladder": LADDER}}


def row(number: int, accuracy: float | None, flops: int, status: str = "ok") -> dict[str, Any]:
    return {"id": number, "accuracy": accuracy, "flops": flops, "status": status}


@pytest.fixture
def no_limits(small_space: SearchSpace) -> Limits:
    return make_limits(small_space, {})


# Rank 0: 0, 1, 2, 3; rank 1: 4, 5; rank 2: 6. Candidates 1 and 2 stand close together.
LOSSES = np.array([[0.0, 10.0], [4.0, 5.0], [4.5, 4.5], [10.0, 0.0], [4.0, 6.0], [9.0, 5.0], [9.5, 9.5]])


def test_ranks_by_hand():
    assert ranks(LOSSES).tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert ranks(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [0, 0, 1]
    assert ranks(np.zeros((0, 2))).tolist() == []


def test_crowding_by_hand():
    """Of the first front, both objectives scaled by 10: 1 has 0.45 + 0.55 between its neighbours, 2 has 0.6 + 0.5."""
    assert crowding(LOSSES[:4]) == pytest.approx([np.inf, 1.0, 1.1, np.inf])
    assert crowding(np.zeros((0, 2))).tolist() == []


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0, []), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 4, 5]), (9, [*range(7)])],
)
def test_the_best_are_whole_ranks_and_then_the_thin_parts(number, wanted):
    assert best(LOSSES, number) == wanted


@pytest.mark.parametrize(("share", "measured", "number"), [(0.33, 3, 1), (0.33, 4, 2), (0.07, 100, 7), (0.5, 1, 1)])
def test_the_share_is_rounded_up(no_limits, share, measured, number):
    rows = [row(i, 50.0 + i, 100 + i) for i in range(measured)]
    assert len(promoted(rows, share, OBJECTIVES, no_limits)) == number


def test_failed_rows_count_as_measured_and_are_never_promoted(no_limits):
    rows = [row(0, None, 1, "failed"), row(1, None, 1, "failed"), row(2, 50.0, 10), row(3, 40.0, 10)]
    assert [r["id"] for r in promoted(rows, 0.25, OBJECTIVES, no_limits)] == [2]
    assert [r["id"] for r in promoted(rows, 0.99, OBJECTIVES, no_limits)] == [2, 3]


def test_the_order_in_which_workers_finished_has_no_say(no_limits):
    rows = [row(i, float(20 + i % 7), 100 - i % 5) for i in range(40)]  # many ties
    wanted = [r["id"] for r in promoted(rows, 0.3, OBJECTIVES, no_limits)]
    for seed in range(10):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert [r["id"] for r in promoted(shuffled, 0.3, OBJECTIVES, no_limits)] == wanted


def test_only_what_training_can_mend_is_forgiven(small_space):
    """Candidate 0 is too inaccurate so far, which may change; candidate 1 is too large for ever."""
    limits = make_limits(small_space, {"accuracy": LimitConfig(min=60), "flops": LimitConfig(max=50_000)})
    rows = [row(0, 30.0, 40_000, "infeasible"), row(1, 90.0, 60_000, "infeasible")]
    assert [r["id"] for r in promoted(rows, 0.9, OBJECTIVES, limits)] == [0]


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"epochs": 1, "ladder": [{"epochs": 1, "promote": 0.5}]}, "stay below evaluation.epochs"),
        ({"epochs": 1, "ladder": [{"epochs": 0.2, "promote": 0.5}] * 2}, "grow from each to the next"),
        ({"epochs": 1, "ladder": [{"epochs": 0, "promote": 1}]}, r"evaluation\.ladder\.0\.promote: got 1"),
        ({"epochs": 1, "ladder": [{"epochs": 0, "promote": 0}]}, r"evaluation\.ladder\.0\.promote: got 0"),
        (
            {"epochs": 1, "ladder": [{"epoch": 0, "promote": 0.5}]},
            r"unknown key evaluation\.ladder\.0\.epoch.*'epochs'",
        ),
        ({"ladder": [{"epochs": 0, "promote": 0.5}]}, r"evaluation\.ladder: got"),
    ],
)
def test_a_ladder_that_leads_nowhere_is_refused(evaluation, message):
    document = {"name": "x", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
    with pytest.raises(UserError, match=message):
        parse_experiment({**document, "evaluation": evaluation}, "x")


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
