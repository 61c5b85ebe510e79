"""All benchmarks start, those that need a GPU without one, and measure what they say."""

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
FILES = sorted(BENCHMARKS.glob("*.py"))
COMMANDS = [file for file in FILES if "argparse.ArgumentParser(" in file.read_text(encoding="utf-8")]
SMALL = ["--device", "cpu", "--width", "4", "--images", "32", "--sizes", "2", "--epochs", "1"]


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark as Python does when it is started."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda file: runpy.run_path(str(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_benchmark_can_be_imported(file, load):
    assert load(file)["__doc__"]


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_every_benchmark_says_what_it_is_for(file, load, capsys, monkeypatch):
    benchmark = load(file)
    monkeypatch.setattr(sys, "argv", [str(file), "--help"])
    with pytest.raises(SystemExit) as end:
        benchmark["main"]()
    assert end.value.code == 0
    assert benchmark["__doc__"].splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_a_virtual_worker_alone_is_always_busy_and_more_are_not(load, tmp_path):
    benchmark = load(BENCHMARKS / "idle_workers.py")
    experiment = benchmark["make_experiment"]("generational", benchmark["LADDER"], seed=0, num_workers=4, children=4)
    alone, four = (benchmark["run"](experiment, number, tmp_path / str(number)) for number in (1, 4))
    assert alone.busy(alone.makespan) == pytest.approx(100)
    assert four.busy(four.makespan) < 100
    assert four.makespan * 4 > alone.makespan > four.makespan


@pytest.fixture(scope="module")
def population_benchmark():
    return runpy.run_path(str(BENCHMARKS / "gpu_population.py"))["main"]


def test_candidates_together_are_compared_before_they_are_timed(population_benchmark, capsys):
    assert population_benchmark(SMALL) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:2]] == ["fp32", "float64, trained"]
    rows = [line.split(" | ") for line in printed if line.startswith("| 2 ")]
    assert [row[1] for row in rows] == ["together, no graph", "slim networks"]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_networks_that_differ_have_no_speeds(population_benchmark, capsys, monkeypatch):
    monkeypatch.setattr("evoprune.training.stacked_training._Step.reset", lambda step: step._momenta[-2].add_(1))
    assert population_benchmark(SMALL) == 1
    assert "no speeds" in capsys.readouterr().out
