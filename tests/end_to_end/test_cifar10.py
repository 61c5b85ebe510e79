"""A whole run on real CIFAR-10 images, small: what comes out is measured, not made up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import prepared

import evoprune
from evoprune.config import DataConfig
from evoprune.data.sources import load_raw_data
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.retrain import retrain
from evoprune.stages.search import search


@pytest.fixture
def archive(cifar10_npz: Path, tmp_path: Path) -> Path:
    """Its training images, and 2,000 of its test images: a run and this test pass them through five networks."""
    with np.load(cifar10_npz) as whole:
        arrays = {name: whole[name][:2000] if name.startswith("test") else whole[name] for name in whole.files}
    np.savez(tmp_path / "few.npz", **arrays)
    return tmp_path / "few.npz"


def test_run_on_real_images_learns_and_its_models_are_as_good_as_their_row(
    archive: Path, make_experiment: Any, tmp_path: Path
):
    experiment = make_experiment(
        data={"dataset": "npz", "root": str(archive), "crop": 4, "flip": True},
        search_space={"name": "resnet20", "width": 8},
        base={"epochs": 6, "batch_size": 50},
        evaluation={"epochs": 0.5, "batch_size": 50, "lr": 0.02},
    )
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        search(context)
        retrain(context)
    assert context.base.info["test_accuracy"] > 20, "10 % is chance"
    front = pd.read_csv(tmp_path / "run" / "output.csv").dropna(subset="test_accuracy")
    for row in front.itertuples():
        assert abs(_test_accuracy(row.model, archive) - row.test_accuracy) < 0.11, "two images"


def _test_accuracy(path: str, archive: Path) -> float:
    """Accuracy in percent of a saved model, with plain torch and what model.json says of its input."""
    network = evoprune.load_model(path)
    preprocessing = json.loads((Path(path) / "model.json").read_text())["preprocessing"]
    mean, std = (torch.tensor(preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    images, labels = load_raw_data(DataConfig(dataset="npz", root=str(archive))).test
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        predicted = torch.cat([network(batch).argmax(1) for batch in inputs.split(1000)])
    return 100 * float((predicted == torch.from_numpy(labels)).float().mean())
