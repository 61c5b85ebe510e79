"""Pruning without a search: what goes, what stays gone, what the table says, and going on after an interruption."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import refusal, write_experiment
from helpers import TINY, interrupt, load_data, merge

from evoprune import compute_costs, load_model
from evoprune.cli import main
from evoprune.config import DataConfig
from evoprune.data.sources import load_raw_data
from evoprune.data.tensors import to_split
from evoprune.space.ranking import RANKINGS, prune_by_offsets
from evoprune.space.space import SearchSpace
from evoprune.stages.curves import read_curves

FILES = ["summary.csv", "summary.md"]


@pytest.fixture
def command(tmp_path: Path, cache: Path):
    """Runs `evoprune prune` on the tiny experiment; returns the folder of its results."""

    def prune(*words: str, out: str = "out", **changes: Any) -> Path:
        file = write_experiment(tmp_path, **merge({"base": {"cache": str(cache)}}, changes))
        assert main(["prune", file, "--out", str(tmp_path / out), *words]) == 0
        return max((tmp_path / out / "pruned").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)

    return prune


def codes_of(table: pd.DataFrame, space: SearchSpace) -> list[np.ndarray]:
    return [space.parse_code(text) for text in table["code"]]


def score(folder: str, split: str) -> float:
    """Accuracy of a saved model, from its folder and the raw pixels."""
    config = DataConfig(**TINY["data"])
    description = json.loads((Path(folder) / "model.json").read_text())
    how = description.get("base", description)["preprocessing"]
    cpu = torch.device("cpu")
    images = to_split(load_raw_data(config).test, cpu) if split == "test" else load_data(config, cpu).validation
    with torch.no_grad():
        logits = load_model(folder)((images.images / 255 - how["mean"][0]) / how["std"][0])
    return 100 * float((logits.argmax(1) == images.labels).double().mean())


def test_a_rate_prunes_that_share_of_every_segment_and_the_least_important(command, small_space):
    folder = command("--rate", "0.45", importance={"ranking": "uniform"})
    assert folder.name == "magnitude-rate-0.45"
    base, row = (line for _, line in pd.read_csv(folder / "summary.csv").iterrows())
    scores = pd.read_csv(folder.parents[1] / "importance" / "magnitude.csv")
    code = small_space.parse_code(row["code"])
    for segment in small_space.segments:
        assert base[f"kept.{segment.name}"] == segment.width
        gone = int(0.45 * segment.width)
        assert row[f"kept.{segment.name}"] == segment.width - gone
        least = scores[scores.segment == segment.name].nsmallest(gone, "score").channel
        assert set(np.flatnonzero(code[segment.slice] == 0)) == set(least)


def test_the_table_is_what_the_saved_model_is(command, small_space):
    folder = command("--rate", "0.3")
    table = pd.read_csv(folder / "summary.csv")
    for (_, row), code in zip(table.iterrows(), codes_of(table, small_space), strict=True):
        assert row["file_bytes"] == (Path(row.model) / "model.safetensors").stat().st_size
        assert row["params"] == sum(value.numel() for value in load_model(row.model).parameters())
        assert row["flops"] == compute_costs(small_space, code)["flops"][0]
        assert row["accuracy"] == pytest.approx(score(row.model, "validation"), abs=1e-3)
        assert row["test_accuracy"] == pytest.approx(score(row.model, "test"), abs=1e-3)
    assert table["accuracy_before"][1] == table["accuracy"][0]
    assert table[["accuracy_cut", "accuracy_recalibrated"]].loc[1].between(0, 100).all()
    assert not list(folder.rglob("*.ckpt")) and "fine-tuned" in (folder / "summary.md").read_text()


def test_flops_are_kept_to_and_one_channel_more_would_exceed_them(command, small_space):
    full = compute_costs(small_space, small_space.full_code())["flops"][0]
    table = pd.read_csv(command("--flops", "50%", importance={"ranking": "uniform"}) / "summary.csv")
    scores = pd.read_csv(Path(table.model[0]).parent / "importance" / "magnitude.csv").score.to_numpy()
    assert table["flops"][1] <= 0.5 * full
    codes = [RANKINGS["uniform"](small_space, scores, rate) for rate in np.linspace(0, 1, 1001)]
    reached = next(
        index for index, code in enumerate(codes) if compute_costs(small_space, code)["flops"][0] <= full / 2
    )
    code = small_space.parse_code(table["code"][1])
    assert (codes[reached] <= code).all() and (code <= codes[reached - 1]).all() and (code != codes[reached - 1]).any()
    assert compute_costs(small_space, codes[reached - 1])["flops"][0] > full / 2


def test_by_default_segments_keep_more_the_more_they_cost_alone(command, small_space):
    """The widths follow from the curves in `sensitivity/ranking_magnitude.csv`, measured once."""
    folder = command("--rate", "0.5")
    run = folder.parents[1]
    curves = read_curves(run / "sensitivity" / "ranking_magnitude.csv", small_space)
    scores = pd.read_csv(run / "importance" / "magnitude.csv").score.to_numpy()
    wanted = prune_by_offsets(curves.offsets(), small_space, scores, 0.5)
    (_, code) = codes_of(pd.read_csv(folder / "summary.csv"), small_space)
    assert (code == wanted).all() and len({group.of(code).mean() for group in small_space.groups}) > 1


@pytest.mark.parametrize("ranking", ["sensitivity", "uniform", "global"])
def test_steps_are_cumulative_and_nested(command, small_space, ranking):
    folder = command("--rate", "0.5", "--steps", "2", importance={"ranking": ranking})
    table = pd.read_csv(folder / "summary.csv")
    _, first, second = codes_of(table, small_space)
    assert (second <= first).all() and second.sum() < first.sum()
    assert table["accuracy_before"][2] == table["accuracy"][1]
    assert table["test_accuracy"].isna().tolist() == [False, True, False]
    for code, rate in ((first, 0.25), (second, 0.5)):
        if ranking == "uniform":
            wanted = {segment.name: segment.width - int(rate * segment.width) for segment in small_space.segments}
            assert small_space.widths(code) == wanted
        elif ranking == "global":
            assert 0 <= (code == 0).sum() - int(rate * small_space.length) <= 1
        else:
            assert (code == 0).mean() == pytest.approx(rate, abs=0.05), "every group rounds"
        assert not small_space.adapters(code)


def test_a_later_step_scores_the_network_of_the_step_before(command, small_space):
    """By hand: the l1 norm of each filter of a middle segment, over its layer's mean, of the first step's weights."""
    folder = command("--rate", "0.5", "--steps", "2", importance={"criterion": "l1"})
    table = pd.read_csv(folder / "summary.csv")
    _, first, second = codes_of(table, small_space)
    network = load_model(table.model[1])
    for segment in small_space.segments:
        if segment.name.endswith("middle"):
            weight = network.get_submodule(segment.name.replace("middle", "conv1")).weight
            norms = weight.detach().double().abs().sum((1, 2, 3))
            kept = np.flatnonzero(first[segment.slice])
            best = kept[norms.argsort(descending=True)[: second[segment.slice].sum()].numpy()]
            assert set(np.flatnonzero(second[segment.slice])) == set(best)


def test_an_interrupted_pruning_goes_on_to_the_same_result(command, monkeypatch):
    import evoprune.stages.prune as module

    words = ("--rate", "0.5", "--steps", "2")
    straight = command(*words, retrain={"epochs": 3})
    real = module.train

    def dying(*arguments: Any, **named: Any):
        for epoch in real(*arguments, **named):
            yield epoch
            dying.epochs += 1
            if dying.epochs == 5:  # in the middle of the second step
                interrupt()

    dying.epochs = 0
    monkeypatch.setattr(module, "train", dying)
    with pytest.raises(AssertionError):  # exit status 75
        command(*words, out="again", retrain={"epochs": 3})
    monkeypatch.setattr(module, "train", real)
    again = command(*words, out="again", retrain={"epochs": 3})
    first, second = (pd.read_csv(folder / "summary.csv").drop(columns="model") for folder in (straight, again))
    pd.testing.assert_frame_equal(first, second)
    for step in ("step_1", "step_2"):
        assert (straight / step / "model.safetensors").read_bytes() == (again / step / "model.safetensors").read_bytes()


def test_a_finished_pruning_prints_its_table_again_and_trains_nothing(command, capsys, monkeypatch):
    folder = command("--rate", "0.25")
    before = {name: (folder / name).read_bytes() for name in FILES}
    capsys.readouterr()
    monkeypatch.setattr("evoprune.stages.prune.train", None)
    command("--rate", "0.25")
    assert (folder / "summary.md").read_text() in capsys.readouterr().out
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_another_recipe_is_trained_anew_and_said(command, capsys):
    folder = command("--rate", "0.25")
    first = (folder / "step_1" / "model.safetensors").read_bytes()
    assert "is made again" not in capsys.readouterr().out
    assert command("--rate", "0.25", "--set", "retrain.lr=0.01") == folder
    assert "step 1: is made again, as is what follows it, and its model replaced then: retrain.lr 0.05 there, 0.01" in (
        capsys.readouterr().out
    )
    assert (folder / "step_1" / "model.safetensors").read_bytes() != first


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--rate, --flops, --max-loss", "none"]),
        (["--rate", "0.5", "--flops", "50%"], ["one of", "--rate and --flops"]),
        (["--rate", "1"], ["--rate", "between 0 and 1", "got 1"]),
        (["--rate", "0"], ["--rate", "between 0 and 1", "got 0"]),
        (["--rate", "half"], ["--rate", "got half"]),
        (["--rate", "nan"], ["--rate", "got nan"]),
        (["--flops", "10"], ["--flops", "got 10", "at least"]),
        (["--flops", "0.1%"], ["--flops", "got 0.1%", "at least"]),
        (["--flops", "100%"], ["--flops", "got 100%", "below"]),
        (["--max-loss", "-1"], ["--max-loss", "got -1"]),
        (["--rate", "0.5", "--steps", "0"], ["--steps", "got 0"]),
        (["--rate", "0.5", "--method", "magnitud"], ["--method", "magnitud", "did you mean 'magnitude'"]),
        (["--rate", "0.5", "--set", "retrain.from=scratch"], ["retrain.from", "scratch", "inherited"]),
        (["--rate", "0.5", "--set", "sede=1"], ["sede", "seed"]),
    ],
)
def test_a_mistake_is_named_with_what_came_and_what_to_do(tmp_path, capsys, words, parts):
    message = refusal(capsys, "prune", write_experiment(tmp_path), "--out", str(tmp_path / "out"), *words)
    assert [part for part in parts if part not in message] == []
    assert not (tmp_path / "out").exists()


def test_a_training_that_fails_is_named_with_its_step_and_rate_of_learning(tmp_path, cache, capsys):
    file = write_experiment(tmp_path, base={"cache": str(cache)}, retrain={"lr": 1e30})
    assert main(["prune", file, "--out", str(tmp_path / "out"), "--rate", "0.5"]) == 2
    message = capsys.readouterr().err
    assert "prune, step 1: the training loss is not finite" in message and "(retrain.lr is 1e+30)" in message
