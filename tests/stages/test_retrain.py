"""Full training of networks of the front: which ones, what is trained again and what is not."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import refusal, set_all
from helpers import interrupt, prepared

from evoprune import load_model
from evoprune.cli import main
from evoprune.common.errors import IncompleteError
from evoprune.config import Experiment
from evoprune.data.tensors import place_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.evaluation.training_job import Task
from evoprune.networks.device import CPU
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.retrain import _job_factory, retrain
from evoprune.stages.search import search

SHORT = "retrain.epochs=0.1"


def run_command(run: Path, *overrides: str) -> pd.DataFrame:
    """The trained rows of `output.csv` after `evoprune retrain`."""
    assert main(["retrain", str(run), *set_all(*overrides)]) == 0
    return pd.read_csv(run / "output.csv").dropna(subset="test_accuracy")


# --- which networks


def test_select_decides_which_networks_are_trained(copied):
    front = pd.read_csv(copied / "output.csv")
    ends = {front.key.iloc[0], front.key.iloc[-1]}
    assert set(run_command(copied, SHORT, "retrain.select={count: 2}").key) == ends
    forget_models(copied)
    assert set(run_command(copied, SHORT, f"retrain.select=[{front.key[1]}]").key) == {front.key[1]}
    forget_models(copied)
    assert 1 <= len(run_command(copied, SHORT, "retrain.select=knees")) <= 3
    assert set(run_command(copied, SHORT, "retrain.select=all").key) == set(front.key)


def forget_models(run: Path) -> None:
    """Remove the models, and what `output.csv` would keep of them."""
    shutil.rmtree(run / "models")
    (run / "output.csv").unlink()


def test_a_refused_selection_changes_nothing(copied, capsys):
    before = (copied / "config.yaml").read_text()
    message = refusal(capsys, "retrain", str(copied), "--set", "retrain.select=[kzzz]")
    assert "retrain.select: kzzz is not on the front" in message
    assert (copied / "config.yaml").read_text() == before


# --- what is trained again


def test_the_same_settings_train_nothing_again_and_others_do(copied, capsys):
    def times() -> dict[str, int]:
        return {str(file): file.stat().st_mtime_ns for file in (copied / "models").rglob("model.safetensors")}

    first = times()
    assert run_command(copied).shape[0] == 2 and times() == first
    assert "trained again" not in capsys.readouterr().out
    run_command(copied, "retrain.lr=0.01")
    assert (
        capsys.readouterr().out.count(" is trained again, and its model replaced then: retrain.lr 0.05 there, 0.01")
        == 2
    )
    changed = times()
    assert set(changed) == set(first) and all(changed[name] > first[name] for name in first)


def test_seeds_give_mean_and_spread(copied):
    output = run_command(copied, "retrain.seeds=2")
    assert set(output.num_seeds) == {2}
    for _, row in output.iterrows():
        folder = copied / "models" / row.key
        tests = [json.loads((f / "model.json").read_text())["test_accuracy"] for f in (folder, folder / "seed_1")]
        assert row.test_accuracy == pytest.approx(statistics.fmean(tests), abs=1e-3)
        assert row.test_accuracy_std == pytest.approx(abs(tests[0] - tests[1]) / 2**0.5, abs=1e-3)


@pytest.mark.parametrize("override", ["retrain.from=scratch", "retrain.distillation={weight: 0.5, temperature: 2.0}"])
def test_other_trainings_give_other_weights(ran, copied, override):
    output = run_command(copied, override)
    assert len(output) == 2 and output.test_accuracy.between(0, 100).all()
    for key in output.key:
        name = Path("models") / key / "model.safetensors"
        assert (copied / name).read_bytes() != (ran / name).read_bytes()


@pytest.fixture
def searched(copied: Path) -> Path:
    """A run whose search is finished, and nothing after it."""
    shutil.rmtree(copied / "models")
    (copied / "output.csv").unlink()
    return copied


def run_retrain(experiment: Experiment, path: Path) -> pd.DataFrame:
    with open_run_folder(path, experiment) as folder:
        retrain(prepared(experiment, folder))
    return pd.read_csv(path / "output.csv")


def test_a_checkpoint_of_other_settings_is_not_continued(tiny, searched, tmp_path):
    first, second = tiny(retrain={"lr": 0.3, "epochs": 2.0}), tiny(retrain={"lr": 0.01, "epochs": 2.0})
    fresh = run_retrain(second, Path(shutil.copytree(searched, tmp_path / "fresh")))
    for key in fresh.dropna(subset="model").key:
        leave_checkpoint(first, searched, key)
    again = run_retrain(second, searched)
    assert again.test_accuracy.dropna().tolist() == fresh.test_accuracy.dropna().tolist()
    for path in sorted((tmp_path / "fresh" / "models").glob("*/model.safetensors")):
        twin = searched / "models" / path.parent.name / path.name
        assert path.read_bytes() == twin.read_bytes(), "went on from a checkpoint of another recipe"


def leave_checkpoint(experiment: Experiment, run: Path, key: str) -> None:
    """What an interrupted full training with the settings of `experiment` leaves behind: one epoch of a checkpoint."""
    with open_run_folder(run, experiment) as folder:
        context = prepared(experiment, folder)
    reports = pd.read_csv(run / "reports.csv")
    code = reports.code[reports.key == key].item()
    checkpoint = folder.model(key) / "training.ckpt"
    checkpoint.parent.mkdir(parents=True)
    next(_job_factory(context)()(Task(key, code, 0, str(checkpoint))))
    assert checkpoint.is_file()


def test_an_interrupted_training_goes_on_and_leaves_no_checkpoint(tiny, searched, tmp_path, monkeypatch):
    from evoprune.evaluation import training_job as module

    experiment, real = tiny(retrain={"epochs": 3.0, "select": {"count": 1}}), module.train
    whole = run_retrain(experiment, Path(shutil.copytree(searched, tmp_path / "whole")))
    numbers: list[int] = []

    def dying(*arguments: Any, **named: Any):
        for epoch in real(*arguments, **named):
            yield epoch
            numbers.append(epoch.number)
            if numbers == [1, 2]:
                interrupt()

    monkeypatch.setattr(module, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        run_retrain(experiment, searched)
    assert len(list(searched.rglob("training-*.ckpt"))) == 1
    again = run_retrain(experiment, searched)
    assert numbers == [1, 2, 3], "two epochs were done"
    assert again.test_accuracy.dropna().tolist() == whole.test_accuracy.dropna().tolist()
    assert not list(searched.rglob("*.ckpt"))


def test_a_training_that_fails_costs_no_other_one_and_is_named(tiny, searched):
    """A learning rate at which the loss overflows."""
    experiment = tiny(retrain={"lr": 1e30, "epochs": 1.0})
    with pytest.raises(
        IncompleteError, match=r"2 of 2 trainings .*TrainingError: .*; the same command tries them again"
    ):
        run_retrain(experiment, searched)
    assert "test_accuracy" not in pd.read_csv(searched / "output.csv").columns
    failed = RunFolder(searched).facts()["failed_trainings"]
    assert len(failed) == 2 and all(" seed 0: TrainingError: " in text for text in failed)
    assert run_retrain(tiny(), searched).test_accuracy.notna().sum() == 2
    assert RunFolder(searched).facts()["failed_trainings"] == []


def test_training_one_network_again_keeps_the_others_and_the_configuration(copied):
    before = pd.read_csv(copied / "output.csv").set_index("key")
    config, trained = (copied / "config.yaml").read_bytes(), before.dropna(subset="test_accuracy").index
    one, other = trained
    weights = (copied / "models" / other / "model.safetensors").read_bytes()
    run_command(copied, f"retrain.select=[{one}]", "retrain.epochs=0.3")
    after = pd.read_csv(copied / "output.csv").set_index("key")
    assert after.test_accuracy[other] == before.test_accuracy[other]
    assert after.test_accuracy[one] != before.test_accuracy[one]
    assert (copied / "models" / other / "model.safetensors").read_bytes() == weights
    assert (copied / "config.yaml").read_bytes() == config


FIXED_FEATURES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
        self.register_buffer("mix", torch.randn(8), persistent=False)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)) * self.mix)

def make():
    return Net()
"""


def test_a_buffer_that_the_state_leaves_out_is_saved_with_the_network_that_was_tested(tiny, tmp_path):
    (tmp_path / "net.py").write_text(FIXED_FEATURES)
    source = f"{tmp_path / 'net.py'}:make"
    experiment = tiny(network={"source": source}, search_space=None, retrain={"epochs": 2, "select": {"count": 1}})
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        search(context)
        retrain(context)
    (row,) = pd.read_csv(tmp_path / "run" / "output.csv").dropna(subset="test_accuracy").to_dict("records")
    data, test = place_data(context.dataset.arrays, CPU.device), to_split(context.dataset.test, CPU.device)
    assert accuracy(load_model(row["model"], source=source), data, test) == pytest.approx(row["test_accuracy"])
