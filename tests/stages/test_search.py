"""The loop of a search, with workers that overtake each other and make their accuracies up, and with real ones."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import NINE_CODES, TINY, merge, prepared, run_search, without_checks
from overtaking import simulate

from evoprune import UserError
from evoprune.config import Experiment, parse_experiment
from evoprune.runs.ownership import open_run_folder
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.space.limits import Limits
from evoprune.stages.search import nothing_found, search

LADDER = [{"epochs": 0, "promote": 0.5}]
STEADY: dict[str, Any] = {
    "search": {"mode": "steady_state", "random_samples": 4, "num_individual": 4, "generations": 2},
    "evaluation": {"epochs": 0.5, "batch_size": 64, "ladder": LADDER},
}


def steady(**changes: Any) -> Experiment:
    return parse_experiment(merge(merge(TINY, STEADY), changes), "test")


# --- steady state


@pytest.mark.parametrize("ladder", [[], LADDER])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_no_worker_is_ever_idle_before_the_end(tmp_path, ladder, batch_size):
    experiment = steady(
        evaluation={"ladder": ladder},
        search={"random_samples": 20, "generations": 30, "num_individual": 8},
        workers={"candidates_per_batch": batch_size},
    )
    workers, rows = simulate(tmp_path / "run", experiment, number=5)
    assert set(workers.running[: -5 * (1 + len(ladder))]) == {5}
    assert sorted(rows.id.unique()) == list(range(260))
    assert not rows.id.is_monotonic_increasing, "the file keeps the order in which rows came"
    first = rows[rows.rung == 0].set_index("id").generation
    assert [(first == generation).sum() for generation in range(31)] == [20] + 30 * [8]
    assert first.sort_index().is_monotonic_increasing


def test_more_workers_than_first_candidates_get_children_of_the_first_two(tmp_path):
    workers, rows = simulate(tmp_path / "run", steady(evaluation={"ladder": []}), number=100)
    assert workers.running[:3] == [4, 3, 10], "children begin when two of four are told, all eight at once"
    assert len(rows) == 12


@pytest.mark.parametrize("random_samples", [1, 2])
def test_a_search_may_begin_with_the_full_network_alone(tmp_path, random_samples):
    _, rows = simulate(tmp_path / "run", steady(search={"random_samples": random_samples}), number=3)
    assert rows.id.nunique() == random_samples + 8


def test_who_is_in_the_best_half_of_the_last_four_goes_on(tmp_path):
    """Replayed by hand from the rows: costs and accuracy of a rung-0 row against its three predecessors'."""
    _, rows = simulate(tmp_path / "run", steady(search={"generations": 20}), number=3)
    low, high = rows[rows.rung == 0], set(rows[rows.rung == 1].id)
    assert 0.3 < len(high) / len(low) < 0.9
    for place in range(3, len(low)):
        window = low.iloc[place - 3 : place + 1]
        new = window.iloc[-1]
        better = window[
            (window.accuracy >= new.accuracy)
            & (window.flops <= new.flops)
            & ((window.accuracy > new.accuracy) | (window.flops < new.flops))
        ]
        if len(better) >= 2:
            assert new.id not in high, "two of four are better in everything"
    assert rows[rows.rung == 1].epochs.unique().tolist() == [0.5]


def test_shares_are_kept_and_resumed(tmp_path):
    """60 children of two proposals, half each; cut off anywhere, the rest is the same again."""
    shares = {"evolution": 0.5, "magnitude": 0.25, "random": 0.25}
    experiment = steady(search={"generations": 15, "random_samples": 20, "proposal": shares})
    _, rows = simulate(tmp_path / "whole", experiment, number=1)
    named = rows[rows.rung == 0].proposal.value_counts()
    assert named.sum() == 80 and named["full"] == 1 and set(named.index) == {"full", *shares}
    assert 25 <= named["evolution"] <= 55, "79 draws at a half: 39.5 +- 4.4"
    whole = (tmp_path / "whole" / "reports.csv").read_text()
    header, *lines = whole.splitlines(keepends=True)
    for kept in (0, 11, 37, len(lines) - 1):
        path = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"{kept}"))
        (path / "reports.csv").write_text(header + "".join(lines[:kept]))
        simulate(path, experiment, number=1)
        assert (path / "reports.csv").read_text() == whole


def test_two_runs_with_one_worker_are_the_same(tmp_path):
    texts = [
        (simulate(tmp_path / name, steady(), number=1), (tmp_path / name / "reports.csv").read_bytes())[1]
        for name in ("first", "second")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("number", [1, 3])
def test_a_search_goes_on_from_any_row(tmp_path, number):
    """With one worker as if nothing had happened; with more all candidates are measured once at each rung."""
    experiment = steady()
    simulate(tmp_path / "whole", experiment, number)
    whole = (tmp_path / "whole" / "reports.csv").read_text()
    header, *lines = whole.splitlines(keepends=True)
    for kept in range(len(lines)):
        path = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"{kept}"))
        (path / "reports.csv").write_text(header + "".join(lines[:kept]) + lines[kept][:40])
        _, rows = simulate(path, experiment, number)
        text = (path / "reports.csv").read_text()
        assert text.startswith(header + "".join(lines[:kept]))
        assert rows.id.nunique() == 12 and not rows.duplicated(["id", "rung"]).any()
        assert rows[rows.rung == 0].key.is_unique
        if number == 1:
            assert text == whole


# --- either mode


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_magnitude_alone_ends_when_every_rate_is_measured(tmp_path, capsys, mode):
    """Segments have 4, 8 and 16 channels: counts change where the rate, below 0.8, is k / 16 with k from 0 to 12."""
    experiment = steady(search={"mode": mode, "random_samples": 6, "generations": 9, "proposal": "magnitude"})
    _, rows = simulate(tmp_path / "run", experiment, number=3)
    assert rows.key.nunique() == rows.id.nunique() == 13
    assert set(rows.proposal[rows.id > 0]) == {"magnitude"}
    assert "no new code is left" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_a_space_that_runs_out_of_codes_ends(tmp_path, capsys, mode):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    experiment = steady(
        search_space={"name": str(tmp_path / "nine.yaml"), "width": 2}, search={"mode": mode, "generations": 5}
    )
    _, rows = simulate(tmp_path / "run", experiment, number=3)
    assert rows.key.nunique() == rows.id.nunique() == 9
    assert "no new code is left" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_a_finished_search_that_runs_again_starts_no_worker(tiny, tmp_path, mode):
    experiment = tiny(**merge(STEADY, {"search": {"mode": mode, "generations": 1}}))
    path = run_search(experiment, tmp_path / "run")
    before = (path / "reports.csv").read_bytes()

    def refuse(*_: object) -> Any:
        raise AssertionError("workers were started")

    with open_run_folder(path, experiment) as folder:
        search(prepared(experiment, folder), refuse)
    assert (path / "reports.csv").read_bytes() == before


def test_a_finished_search_stays_as_it_is_where_generations_ran_short_of_codes(tmp_path):
    """Of 49 codes the last generations have fewer than four new ones, and each stands in its generation once."""
    (tmp_path / "49.yaml").write_text(NINE_CODES)
    experiment = steady(
        search_space={"name": str(tmp_path / "49.yaml"), "width": 3}, search={"mode": "generational", "generations": 20}
    )
    _, rows = simulate(tmp_path / "run", experiment, number=1)
    sizes = rows[rows.rung == 0].generation.value_counts().sort_index().tolist()
    assert min(sizes[:-1]) < 4
    text = (tmp_path / "run" / "reports.csv").read_text()
    simulate(tmp_path / "run", experiment, number=1)
    assert (tmp_path / "run" / "reports.csv").read_text() == text


def test_a_search_that_goes_on_asks_for_no_generation_that_is_there(tmp_path, monkeypatch):
    """To ask again takes a second for each generation where a model predicts what is proposed."""
    experiment = steady(search={"mode": "generational", "generations": 6})
    simulate(tmp_path / "whole", experiment, number=1)
    whole = (tmp_path / "whole" / "reports.csv").read_text()
    asked, fronts = [], []
    ask = NSGA3Searcher.ask
    monkeypatch.setattr(NSGA3Searcher, "ask", lambda self, most: asked.append(most) or ask(self, most))
    monkeypatch.setattr("evoprune.stages.search.write_front", lambda *_: fronts.append(1))
    lines = whole.splitlines(keepends=True)
    first_of_last = next(place for place, line in enumerate(lines) if line.split(",")[1] == "6")
    (tmp_path / "whole" / "reports.csv").write_text("".join(lines[: first_of_last + 1]))
    simulate(tmp_path / "whole", experiment, number=1)
    assert asked == [4, 4], "the first generation, which tells other versions, and the one that is not whole"
    assert len(fronts) == 1
    assert (tmp_path / "whole" / "reports.csv").read_text() == whole


def test_workers_that_overtake_each_other_leave_a_generation_in_order(tmp_path):
    """The file of a generational search does not tell who was faster; that of one worker is the same."""
    experiment = steady(search={"mode": "generational", "generations": 3})
    texts = []
    for number in (1, 4):
        _, rows = simulate(tmp_path / str(number), experiment, number)
        texts.append(rows.drop(columns=["worker", "check"]).to_csv())
        assert list(zip(rows.id, rows.rung, strict=True)) == sorted(zip(rows.id, rows.rung, strict=True))
    assert texts[0] == texts[1]


# --- with real measurements


def dominated(row: pd.Series, rows: pd.DataFrame) -> bool:
    as_good = (rows.accuracy >= row.accuracy) & (rows.flops <= row.flops)
    better = (rows.accuracy > row.accuracy) | (rows.flops < row.flops)
    return bool((as_good & better).any())


def test_output_is_exactly_the_non_dominated_rows(ran):
    reports, output = pd.read_csv(ran / "reports.csv"), pd.read_csv(ran / "output.csv")
    assert (len(reports), reports.id.tolist()) == (8, list(range(8)))
    wanted = {row.key for _, row in reports.iterrows() if not dominated(row, reports)}
    assert sorted(output.key) == sorted(wanted)


def test_limits_hold_for_all_but_the_full_network(tiny, tmp_path):
    path = run_search(tiny(search={"limits": {"flops": {"max": "50%"}}}), tmp_path / "limited")
    reports, output = pd.read_csv(path / "reports.csv"), pd.read_csv(path / "output.csv")
    full, others = reports.iloc[0], reports.iloc[1:]
    assert (full.proposal, full.status) == ("full", "infeasible")
    assert (others.flops <= 0.5 * full.flops).all() and (others.status == "ok").all()
    assert full.key not in set(output.key) and len(output) > 0


def test_a_search_without_one_success_says_so(tiny, tmp_path):
    failing = tiny(evaluation={"time_limit_s": 1e-9}, search={"generations": 0})
    with pytest.raises(UserError, match="no candidate succeeded"):
        run_search(failing, tmp_path / "failing")
    reports = pd.read_csv(tmp_path / "failing" / "reports.csv")
    assert set(reports.status) == {"failed"} and reports.error.str.contains("time limit").all()


def test_a_search_without_a_front_says_what_its_rows_have_come_to(small_space):
    """It once sent to the column `error`, where `none` stood in each row that only broke a limit."""
    rows = [{"status": "infeasible", "key": f"k{ms}", "latency": ms, "accuracy": 50.0} for ms in (0.8, 0.653, 2.0)]
    limits = Limits(small_space, {"latency": (-np.inf, 0.589), "accuracy": (60.0, np.inf)}, round_to=8)
    said = nothing_found([*rows, {"status": "failed"}], Path("reports.csv"), limits)
    assert "1 of the 4 rows of reports.csv failed" in said and "3 break search.limits" in said
    assert "k0.653, has latency 0.653 (ms), at most 0.589 allowed, accuracy 50 (%), at least 60 allowed" in said
    assert "or lower search.round_to (8)" in said
    said = nothing_found([{"status": "failed"}], Path("reports.csv"), limits)
    assert "1 of the 1 rows" in said and "limits" not in said


def test_a_row_of_another_code_than_the_one_asked_for_stops_the_search(tiny, copied, small_space):
    """As where a run goes on with another version, whose chance is another."""
    text = without_checks(copied / "reports.csv")
    row = pd.read_csv(copied / "reports.csv").iloc[2]
    code = small_space.smallest_code()
    other = small_space.key(code)
    text = text.replace(row.key, other).replace(row.code, small_space.format_code(code))
    (copied / "reports.csv").write_text(text)
    with pytest.raises(UserError, match=rf"candidate 2 is {other}, where the search asks for {row.key}: .*run\.json"):
        run_search(tiny(), copied)


def test_a_search_that_needs_no_importance_computes_none(tiny, tmp_path):
    experiment = tiny(search={"proposal": "random", "prior": None, "generations": 0, "random_samples": 2})
    path = run_search(experiment, tmp_path / "run")
    assert not (path / "importance").exists()
    assert pd.read_csv(path / "reports.csv").proposal.tolist() == ["full", "random"]
