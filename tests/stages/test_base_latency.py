"""The base network's latency: measured once, a measure for limits, compared when a search goes on."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import run_search

from evoprune import UserError
from evoprune.runs.folder import RunFolder

SIZE = "import os, sys; print(os.path.getsize(sys.argv[1] + '/model.safetensors') / 1000)"


@pytest.fixture
def timed(tiny):
    """A tiny experiment whose latency is the size of the saved model, so that it is the same again and again."""

    def make(generations: int = 1, script: str = SIZE, most: str | None = "70%"):
        command = [sys.executable, "-c", script, "{model}"]
        limits = {"latency": {"max": most}}
        search = {"objectives": ["accuracy", "latency"], "limits": limits, "generations": generations}
        return tiny(search=search, evaluation={"latency_command": command})

    return make


@pytest.fixture
def run(timed, tmp_path) -> Path:
    return run_search(timed(), tmp_path / "run")


def edit(run: Path, **facts: object) -> None:
    RunFolder(run).note(latency=facts)


def test_a_limit_may_be_a_share_of_the_base_networks_latency(run):
    rows = pd.read_csv(run / "reports.csv")
    base = RunFolder(run).facts()["latency"]["base_ms"]
    assert base == rows.latency[0] and rows.proposal[0] == "full"
    broken = rows.latency > 0.7 * base
    assert rows.status.tolist() == ["infeasible" if one else "ok" for one in broken]
    assert broken.any() and not broken.all() and rows.latency_spread.isna().all()


def test_another_time_of_the_base_network_is_told_when_a_search_goes_on(timed, tmp_path, capsys):
    run = run_search(timed(most=None), tmp_path / "run")
    base, before = RunFolder(run).facts()["latency"]["base_ms"], (run / "reports.csv").read_text()
    run_search(timed(2, most=None), run)
    assert "warning: latency" not in capsys.readouterr().out
    edit(run, base_ms=2 * base)
    run_search(timed(3, most=None), run)
    warning = f"warning: latency: the base network takes {base:.4g} ms now, and took {2 * base:.4g} ms"
    assert warning in capsys.readouterr().out
    assert (run / "reports.csv").read_text().startswith(before) and len(pd.read_csv(run / "reports.csv")) == 16
    assert RunFolder(run).facts()["latency"]["base_ms"] == 2 * base, "the first one stays"


def test_limits_are_shares_of_the_first_measurement_when_a_search_goes_on(run, timed):
    base = RunFolder(run).facts()["latency"]["base_ms"]
    run_search(timed(2), run)
    rows = pd.read_csv(run / "reports.csv")
    assert rows.status.tolist() == ["infeasible" if one > 0.7 * base else "ok" for one in rows.latency]
    assert len(rows) == 12


def test_a_finished_search_measures_nothing_again(run, timed):
    edit(run, command=["another"])
    run_search(timed(), run)


def test_another_device_is_refused(run, timed):
    edit(run, command=["another"])
    with pytest.raises(UserError, match=r"this run has measured it on command \['another'\]; the workers have"):
        run_search(timed(generations=2), run)


def test_a_base_network_that_cannot_be_measured_ends_the_search(timed, tmp_path):
    with pytest.raises(UserError, match=r"latency: that of the base network cannot be measured: .*: no board"):
        run_search(timed(script="import sys; sys.exit('no board')"), tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "reports.csv")) == 0


def test_workers_of_different_kinds_are_refused(timed, tmp_path, monkeypatch):
    def ask(workers, question):
        return {name: {"device": name, "precision": "fp32"} for name in ("fast", "slow")}

    monkeypatch.setattr("evoprune.workers.local.LocalWorkers.ask", ask)
    with pytest.raises(UserError, match=r"latency: the workers are not of one kind .*fast.*slow"):
        run_search(timed(), tmp_path / "run")


def test_workers_that_all_die_when_they_are_asked_end_the_search(timed, tmp_path, monkeypatch):
    monkeypatch.setattr("evoprune.workers.local.LocalWorkers.ask", lambda workers, question: {})
    with pytest.raises(UserError, match=r"workers: none is left: .*; the same command goes on from here"):
        run_search(timed(), tmp_path / "run")


def test_without_latency_there_is_nothing_to_settle(ran):
    assert "latency" not in RunFolder(ran).facts()
