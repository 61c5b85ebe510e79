"""Benchmarks that need a GPU start without one, and measure what they say."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALL = ["--device", "cpu", "--width", "4", "--images", "32", "--sizes", "2", "--epochs", "1"]


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
    monkeypatch.setattr("evoprune.population._Step.reset", lambda step: step._momenta[-2].add_(1))
    assert population_benchmark(SMALL) == 1
    assert "no speeds" in capsys.readouterr().out
