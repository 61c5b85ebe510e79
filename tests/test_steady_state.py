"""Steady state: nobody waits, what comes next is decided late, and a run goes on from the rows alone."""

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import NINE_CODES, TINY, merge, random_scores, repeated, run_search

from evoprune.stages.base import Base
from evoprune.config import Experiment, parse_experiment
from evoprune.space.costs import code_costs
from evoprune.evaluation.candidate_job import Batch
from evoprune.stages.search import search
from evoprune.runs.folder import open_run_folder
from evoprune.stages.context import Setting, make_space, prepare
from evoprune.space.space import SearchSpace
from evoprune.workers.jobs import Event, Lost

LADDER = [{"epochs": 0, "promote": 0.5}]
STEADY: dict[str, Any] = {
    "search": {"mode": "steady_state", "random_samples": 4, "num_individual": 4, "generations": 2},
    "evaluation": {"epochs": 0.5, "batch_size": 64, "ladder": LADDER},
}


def make_experiment(**changes: Any) -> Experiment:
    return parse_experiment(merge(merge(TINY, STEADY), changes), "test")


class Overtaking:
    """Workers of which each finishes in its turn, but the first one, which takes as long as five others."""

    def __init__(self, space: SearchSpace, number: int, lost: tuple[int, ...] = ()):
        self._space, self._number, self._lost = space, number, lost
        self.running: list[int] = []
        """How many items were under way each time a worker finished."""
        self.items: list[Batch] = []

    @contextmanager
    def open(self, *_: object) -> Iterator["Overtaking"]:
        yield self

    def ask(self, question: object) -> dict[str, Any]:
        return {}

    def map(self, items: Any) -> Iterator[Event]:
        under_way: deque[tuple[int, Batch]] = deque()
        index, turn = 0, 0
        while True:
            while len(under_way) < self._number and (item := next(items, None)) is not None:
                under_way.append((index, item))
                self.items.append(item)
                index += 1
            if not under_way:
                return
            self.running.append(len(under_way))
            turn += 1
            if len(under_way) > 1 and turn % 5:
                under_way.rotate(-1)
            number, batch = under_way.popleft()
            if number in self._lost:
                yield Event(number, "w", Lost("the worker died: test"))
                continue
            for code in batch.codes:
                yield Event(number, "w", self._measure(code, batch.fidelity.epochs))

    def _measure(self, text: str, epochs: float) -> dict[str, Any]:
        code = self._space.parse_code(text)
        accuracy = 100 * float(code.mean()) ** 0.5 - 20 + 20 * epochs
        return {**code_costs(self._space, code), "status": "ok", "error": None, "accuracy": accuracy, "seconds": 0.0}


def simulate(path: Path, experiment: Experiment, number: int, lost: tuple[int, ...] = ()):
    """A search whose accuracies are made up: its workers and its rows."""
    space = make_space(experiment)
    workers = Overtaking(space, number, lost)
    scores = {name: random_scores(space) for name in experiment.search.importances}
    with open_run_folder(path, experiment) as folder:
        search(Setting(experiment, space, Base(torch.nn.Identity(), {}), scores), folder, workers.open)
    return workers, pd.read_csv(path / "reports.csv")


@pytest.mark.parametrize("ladder", [[], LADDER])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_no_worker_is_ever_idle_before_the_end(tmp_path, ladder, batch_size):
    experiment = make_experiment(
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
    experiment = make_experiment(evaluation={"ladder": []})
    workers, rows = simulate(tmp_path / "run", experiment, number=100)
    assert workers.running[:3] == [4, 3, 10], "children begin when two of four are told, all eight at once"
    assert len(rows) == 12


@pytest.mark.parametrize("random_samples", [1, 2])
def test_a_search_may_begin_with_the_full_network_alone(tmp_path, random_samples):
    experiment = make_experiment(search={"random_samples": random_samples})
    _, rows = simulate(tmp_path / "run", experiment, number=3)
    assert rows.id.nunique() == random_samples + 8


def test_who_is_in_the_best_half_of_the_last_four_goes_on(tmp_path):
    """Replayed by hand from the rows: costs and accuracy of a rung-0 row against its three predecessors'."""
    experiment = make_experiment(search={"generations": 20})
    _, rows = simulate(tmp_path / "run", experiment, number=3)
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


def test_a_lost_batch_costs_its_own_rows_only(tmp_path):
    experiment = make_experiment(evaluation={"ladder": []}, workers={"candidates_per_batch": 3})
    _, rows = simulate(tmp_path / "run", experiment, number=2, lost=(0,))
    assert rows[rows.status == "failed"].id.tolist() == [0, 1, 2] and rows.id.nunique() == 12
    assert set(rows[rows.status == "failed"].error) == {"the worker died: test"}


def test_shares_are_kept_and_resumed(tmp_path):
    """60 children of two proposals, half each; cut off anywhere, the rest is the same again."""
    shares = {"evolution": 0.5, "magnitude": 0.25, "random": 0.25}
    experiment = make_experiment(search={"generations": 15, "random_samples": 20, "proposal": shares})
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


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_magnitude_alone_ends_when_every_rate_is_measured(tmp_path, capsys, mode):
    """Segments have 4, 8 and 16 channels: counts change where the rate, below 0.8, is k / 16 with k from 0 to 12."""
    experiment = make_experiment(search={"mode": mode, "random_samples": 6, "generations": 9, "proposal": "magnitude"})
    _, rows = simulate(tmp_path / "run", experiment, number=3)
    assert rows.key.nunique() == rows.id.nunique() == 13
    assert set(rows.proposal[rows.id > 0]) == {"magnitude"}
    assert "no new code is left" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
def test_a_space_that_runs_out_of_codes_ends(tmp_path, capsys, mode):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    experiment = make_experiment(
        search_space={"name": str(tmp_path / "nine.yaml"), "width": 2}, search={"mode": mode, "generations": 5}
    )
    _, rows = simulate(tmp_path / "run", experiment, number=3)
    assert rows.key.nunique() == rows.id.nunique() == 9
    assert "no new code is left" in capsys.readouterr().out


def test_two_runs_with_one_worker_are_the_same(tmp_path):
    texts = [
        (simulate(tmp_path / name, make_experiment(), number=1), (tmp_path / name / "reports.csv").read_bytes())[1]
        for name in ("first", "second")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("number", [1, 3])
def test_a_search_goes_on_from_any_row(tmp_path, number):
    """With one worker as if nothing had happened; with more all candidates are measured once at each rung."""
    experiment = make_experiment()
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


@pytest.fixture(scope="module")
def steady(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished steady-state search in this process; tests copy it before they change anything."""
    return run_search(tiny(**STEADY), tmp_path_factory.mktemp("runs") / "steady")


def test_one_ray_worker_finds_what_this_process_finds(tiny, steady, tmp_path):
    experiment = tiny(**STEADY, workers={"backend": "ray", "num_workers": 1})
    path = run_search(experiment, tmp_path / "ray")
    assert repeated(path) == repeated(steady)
    assert repeated(path, "output.csv") == repeated(steady, "output.csv")


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tiny, steady, tmp_path, backend):
    header, *lines = (steady / "reports.csv").read_text().splitlines(keepends=True)
    for kept in {"local": range(0, len(lines), 4), "ray": [len(lines) // 2]}[backend]:
        path = Path(shutil.copytree(steady, tmp_path / f"{kept}"))
        (path / "reports.csv").write_text(header + "".join(lines[:kept]))
        run_search(tiny(**STEADY, workers={"backend": backend, "num_workers": 1}), path)
        assert repeated(path) == repeated(steady)
        assert repeated(path, "output.csv") == repeated(steady, "output.csv")


def test_two_ray_workers_measure_every_candidate(tiny, tmp_path):
    path = run_search(tiny(**STEADY, workers={"backend": "ray", "num_workers": 2}), tmp_path / "ray")
    rows = pd.read_csv(path / "reports.csv")
    assert sorted(rows.id.unique()) == list(range(12)) and set(rows.worker) == {"ray-0", "ray-1"}
    assert (rows.status == "ok").all() and rows[rows.rung == 0].key.is_unique


def test_a_finished_search_that_runs_again_starts_no_worker(tiny, steady, tmp_path):
    path = Path(shutil.copytree(steady, tmp_path / "again"))
    before = (path / "reports.csv").read_bytes()
    experiment = tiny(**STEADY)

    def refuse(*_: object) -> Any:
        raise AssertionError("workers were started")

    with open_run_folder(path, experiment) as folder:
        search(prepare(experiment, folder), folder, refuse)
    assert (path / "reports.csv").read_bytes() == before
