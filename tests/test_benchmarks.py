"""All benchmarks start, those that need a GPU without one, and measure what they say."""

import json
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, TINY, on_one_core, random_scores
from searching import MINIMAL, flops_shares

from evoprune import load_search_space
from evoprune.common.model_files import read_description
from evoprune.common.objectives import to_losses
from evoprune.config import DataConfig, parse_experiment
from evoprune.data.sources import load_raw_data
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_uniform
from evoprune.training.loop import Epoch
from evoprune.workers.dispatch import dispatch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
FILES = sorted(BENCHMARKS.glob("*.py"))
COMMANDS = [file for file in FILES if "parse_args(" in file.read_text(encoding="utf-8")]
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


def test_published_codes_are_trained_again_by_more_seeds(load, tiny, small_space, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.yaml").write_text(tiny().to_yaml())
    full, smallest = (small_space.format_code(c) for c in (small_space.full_code(), small_space.smallest_code()))
    rows = [("a", 1.0, full, 91.0), ("a", 1.0, full, 92.0), ("b", 0.1, smallest, 50.0), ("c", 0.1, smallest, 50.0)]
    pd.DataFrame(rows, columns=["method", "share", "code", "test"]).to_csv(tmp_path / "codes.csv", index=False)
    words = ["replay_codes.py", str(tmp_path / "tiny.yaml"), str(tmp_path / "codes.csv"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*words, "--methods", "a", "b", "--seeds", "2"])
    load(BENCHMARKS / "replay_codes.py")["main"]()
    trained = pd.read_csv(tmp_path / "replayed_codes.csv")
    assert list(zip(trained["method"], trained["seed"], strict=True)) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert trained["flops"].iloc[0] > trained["flops"].iloc[1] and "| 1 | a | 2 |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*words, "--methods", "a", "--seeds", "1", "--set", "retrain.from=scratch"])
    load(BENCHMARKS / "replay_codes.py")["main"]()  # another start is another training, and its row says so
    assert list(pd.read_csv(tmp_path / "replayed_codes.csv")["inherit"]) == ["compensated"] * 4 + ["scratch"]
    monkeypatch.setattr(sys, "argv", [*words, "--shares", "0.7"])
    with pytest.raises(SystemExit):
        load(BENCHMARKS / "replay_codes.py")["main"]()
    assert "has no code of these methods and shares" in capsys.readouterr().err


def test_a_training_of_a_benchmark_that_fails_is_told(load, tiny, small_space, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(tiny(retrain={"epochs": 1, "lr": 1e30, "warmup_epochs": 0}).to_yaml())
    rows = [("a", 1.0, small_space.format_code(small_space.full_code()))]
    pd.DataFrame(rows, columns=["method", "share", "code"]).to_csv(tmp_path / "codes.csv", index=False)
    words = ["replay_codes.py", str(tmp_path / "tiny.yaml"), str(tmp_path / "codes.csv"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "1"])
    with pytest.raises(SystemExit, match=r"a: .*loss is not finite"):
        load(BENCHMARKS / "replay_codes.py")["main"]()


def test_an_interrupted_training_of_a_benchmark_goes_on(load, tiny, small_space, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(tiny(retrain={"epochs": 3}).to_yaml())
    rows = [("a", 1.0, small_space.format_code(small_space.full_code()))]
    pd.DataFrame(rows, columns=["method", "share", "code"]).to_csv(tmp_path / "codes.csv", index=False)
    words = ["replay_codes.py", str(tmp_path / "tiny.yaml"), str(tmp_path / "codes.csv"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "1"])
    benchmark, epochs = load(BENCHMARKS / "replay_codes.py"), []

    def interrupted(*of, after: int):
        for event in dispatch(*of):
            if isinstance(event.value, Epoch):
                epochs.append(event.value.number)
                if len(epochs) == after:
                    raise KeyboardInterrupt
            yield event

    monkeypatch.setattr(sys.modules["trainings"], "dispatch", partial(interrupted, after=2))
    with pytest.raises(KeyboardInterrupt):
        benchmark["main"]()
    monkeypatch.setattr(sys.modules["trainings"], "dispatch", partial(interrupted, after=9))
    benchmark["main"]()
    assert epochs == [1, 2, 3] and len(pd.read_csv(tmp_path / "replayed_codes.csv")) == 1
    assert not list(tmp_path.glob("*.ckpt"))


def test_a_virtual_worker_alone_is_always_busy_and_more_are_not(load, tmp_path):
    benchmark = load(BENCHMARKS / "idle_workers.py")
    experiment = benchmark["make_experiment"]("generational", benchmark["LADDER"], seed=0, num_workers=4, children=4)
    alone, four = (benchmark["run"](experiment, number, tmp_path / str(number)) for number in (1, 4))
    assert alone.busy(alone.makespan) == pytest.approx(100)
    assert four.busy(four.makespan) < 100
    assert four.makespan * 4 > alone.makespan > four.makespan


def test_criteria_at_equal_widths_are_trained_both_ways_and_once(load, tiny, tmp_path, monkeypatch):
    benchmark = load(BENCHMARKS / "importance_criteria.py")
    (tmp_path / "tiny.yaml").write_text(tiny().to_yaml())
    options = ["--criteria", "l1", "least_squares", "--shares", "0.5", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["importance_criteria.py", str(tmp_path / "tiny.yaml"), *options])
    benchmark["main"]()
    benchmark["main"]()
    rows = pd.read_csv(tmp_path / "importance_criteria_resnet20.csv")
    assert sorted(zip(rows["method"], rows["inherit"], strict=True)) == [
        ("l1", "compensated"), ("l1", "plain"), ("least_squares", "compensated"), ("least_squares", "plain")
    ]  # fmt: skip
    assert rows["code"].nunique() == 2
    assert rows["test"].between(10, 100).all()
    assert "| 0.5 | compensated | l1 |" in (tmp_path / "importance_criteria_resnet20.md").read_text(encoding="utf-8")


def test_sparse_layers_are_timed_against_dense_ones(load, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sparse_inference.py", str(tmp_path / "times.csv"), "--quick"])
    load(BENCHMARKS / "sparse_inference.py")["main"]()
    rows = pd.read_csv(tmp_path / "times.csv")
    assert rows["layer"].tolist() == ["linear 512 -> 512", "3x3 conv 16 -> 16, 32x32"]
    assert (rows[["dense_ms", "csr_ms"]] > 0).all(axis=None) and (rows["difference"] < 1e-5).all()


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


def test_a_twin_is_compared_with_its_slim_network_before_both_are_timed(load, capsys):
    arguments = ["--device", "cpu", "--width", "8", "--images", "64", "--shares", "0.7", "--threads", "2"]
    assert load(BENCHMARKS / "gpu_training.py")["main"](arguments) == 0
    *compared, row = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("a twin", "known", "| 0"))
    )
    assert [line.split(":")[0] for line in compared] == ["a twin", "known outputs"]
    assert all(float(cell.replace(",", "")) > 0 for cell in row.split("|")[3:7])


def front_network(code: str, accuracy: float, flops: int, proposal: str) -> dict[str, object]:
    return {"code": code, "accuracy": accuracy, "flops": flops, "proposal": proposal, "seed": 3}


def test_networks_of_fronts_are_trained_at_the_same_multiply_adds(load):
    space = load_search_space("resnet20")
    full = code_costs(space, space.full_code())["flops"]
    scores = random_scores(space)
    codes = [prune_uniform(space, scores, rate) for rate in (0.0, 0.4, 0.6)]
    costs = [code_costs(space, code)["flops"] for code in codes]
    front = [
        front_network(space.format_code(code), accuracy, flops, "evolution")
        for code, accuracy, flops in zip(codes, (90.0, 80.0, 70.0), costs, strict=True)
    ]
    large = front_network(space.format_code(codes[0]), 90.0, costs[0], "has no small network")
    chosen = load(BENCHMARKS / "trained_fronts.py")["chosen"]
    context = SimpleNamespace(space=space, scores=lambda name: scores)
    uniform, best = chosen(context, pd.DataFrame([*front, large]), [0.5])
    assert [row["method"] for row in (uniform, best)] == ["uniform", "evolution"]
    for row in (uniform, best):
        assert (row["share"], row["seed"]) == (0.5, 3)
        assert 0.99 < code_costs(space, space.parse_code(row["code"]))["flops"] / (0.5 * full) <= 1
    assert (space.parse_code(best["code"]) >= codes[1]).all(), "of two that fit the more accurate one is filled up"


def test_the_arm_of_first_codes_spreads_all_its_codes_evenly(load, small_space):
    benchmark = load(BENCHMARKS / "search_quality.py")
    experiment = parse_experiment({**MINIMAL, "search": {"sensitivity": None, "proposal": "evolution"}}, "test")
    context = SimpleNamespace(
        space=small_space,
        experiment=experiment,
        base=SimpleNamespace(info={"validation_accuracy": 90.0}),
        scores=lambda name: random_scores(small_space),
    )
    searcher = benchmark["Ours"](context, None, seed=0, first=200)
    codes = searcher.ask(1000)
    assert len(codes) == 200 > experiment.search.random_samples
    assert np.histogram(flops_shares(small_space, codes), bins=4)[0].min() > 35


def test_a_searcher_is_told_what_a_run_tells_it(load, small_space):
    """Losses in other units taught the model of the accuracy nothing."""
    benchmark = load(BENCHMARKS / "search_quality.py")
    told = []
    searcher = SimpleNamespace(
        ask=lambda number: np.tile(small_space.full_code(), (number, 1)), tell=lambda codes, losses: told.append(losses)
    )
    context = SimpleNamespace(space=small_space, experiment=parse_experiment(MINIMAL, "test"))
    benchmark["run_arm"](searcher, 20, 8, context, lambda texts: np.array([[62.5, 1000.0]] * len(texts)))
    rows = [{"accuracy": 62.5, "flops": 1000}] * 8
    assert told[0] == pytest.approx(to_losses(rows, ["accuracy", "flops"]))


def test_one_threshold_makes_a_chain_of_ever_narrower_codes(load, small_space):
    """The first group loses twice as much as the others: at any threshold it keeps at least as large a share."""
    benchmark = load(BENCHMARKS / "search_quality.py")
    rates, slopes = np.array([0.0, 1.0]), [40.0, *[20.0] * (len(small_space.groups) - 1)]
    curves = Curves(small_space, (rates,) * len(slopes), tuple(slope * rates for slope in slopes))
    searcher = benchmark["OneThreshold"](small_space, random_scores(small_space), curves, count=8, seed=0)
    codes = np.concatenate([searcher.ask(5), searcher.ask(5), searcher.ask(5)])
    codes = codes[np.argsort(codes.sum(axis=1))]
    assert (np.diff(codes.astype(int), axis=0) >= 0).all() and 6 <= len(np.unique(codes, axis=0)) <= 8
    for code in codes:
        first, *others = (group.of(code).mean() for group in small_space.groups)
        assert first >= max(others)


def test_published_networks_are_tested_against_their_table(load, copied, tmp_path, monkeypatch, capsys):
    raw = load_raw_data(DataConfig(**TINY["data"]))
    arrays = {"train_images": raw.train[0], "train_labels": raw.train[1]}
    arrays |= {"test_images": raw.test[0], "test_labels": raw.test[1]}
    np.savez(tmp_path / "digits.npz", **arrays)
    benchmark = load(BENCHMARKS / "verify.py")
    monkeypatch.setattr(sys, "argv", ["verify.py", str(tmp_path / "digits.npz"), "--models", str(copied / "models")])
    assert benchmark["main"]() == 0
    assert "True" in capsys.readouterr().out
    path = next(copied.glob("models/*/model.json"))
    facts = read_description(path)
    path.write_text(json.dumps({**facts, "test_accuracy": facts["test_accuracy"] + 0.5}))
    assert benchmark["main"]() == 1, "one that is not as accurate as the table says"


def test_a_little_chaos_ends_well(tmp_path):
    """In a process of its own, as searches are shorter in this one. What needs Ray has its own tests."""
    counts = {"bad files": 20, "damaged files": 2, "lost workers": 0, "worker kills": 0, "signals": 0, "run kills": 1}
    trials = [f"{kind}={number}" for kind, number in counts.items()]
    command = [sys.executable, str(BENCHMARKS / "chaos.py"), "--trials", *trials, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=on_one_core)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "chaos.csv").set_index("what")
    assert rows["right"].to_dict() == rows["trials"].to_dict() == {k: n for k, n in counts.items() if n}
    assert "| run kills | 1 | 1 |" in (tmp_path / "chaos.md").read_text(encoding="utf-8")


def test_chaos_counts_what_is_wrong(load, tmp_path, monkeypatch, capsys):
    benchmark = load(BENCHMARKS / "chaos.py")
    arena = SimpleNamespace(folder=tmp_path)
    faults = iter([None, "weights differ", None])
    monkeypatch.setitem(benchmark["TRIALS"], "signals", (lambda arena, run: next(faults), 0))
    (table,) = benchmark["run_trials"](arena, {"signals": 3, "run kills": 0})
    assert table.to_dict("records") == [{"what": "signals", "trials": 3, "right": 2}]
    assert "signals, trial 1: weights differ" in capsys.readouterr().err


def test_gains_in_latency_are_those_of_the_fastest_network_that_is_accurate_enough(load):
    benchmark = load(BENCHMARKS / "latency_front.py")
    rows = [
        ("base network", 90.0, 4.0, 4.0, 8e6),
        ("multiply-adds", 88.5, np.nan, 3.0, 4e6),
        ("multiply-adds", 86.0, np.nan, 2.0, 2e6),
        ("latency", 88.5, 2.6, 2.5, 5e6),
        ("latency", 84.0, 1.0, 1.02, 1e6),
    ]
    table = pd.DataFrame(rows, columns=["arm", "accuracy", "latency", "again", "flops"]).assign(
        again_spread=[1, 1, 1, 5, 1]
    )
    found = benchmark["gains"](table).set_index("points lost, at most")
    assert found.loc[1.0].tolist() == ["none", "none"]
    assert found.loc[2.0].tolist() == ["3.000 ms, 4.0 M", "2.500 ms, 5.0 M (-0.500)"]
    assert found.loc[10.0].tolist() == ["2.000 ms, 2.0 M", "1.020 ms, 1.0 M (-0.980)"]
    said = benchmark["agreement"](table)
    assert "of 3 networks" in said and "2.0 % apart in the median, 3.8 % at most, 67 % of them within 3 %; 1 of" in said
