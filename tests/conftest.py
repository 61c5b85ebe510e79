"""What the tests share: a small search space, a small experiment on real digits, real CIFAR-10 where it is at hand."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from evoprune import build_network, load_search_space
from evoprune.config import DataConfig, Experiment, SearchConfig, parse_experiment
from evoprune.data import Data, Split, load_data
from evoprune.importance.segments import Scores
from evoprune.limits import make_limits
from evoprune.proposals import Proposal, make_proposals
from evoprune.search import NSGA3Searcher
from evoprune.space import Code, SearchSpace

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

TINY: dict[str, Any] = {
    "name": "tiny",
    "precision": "fp32",
    "data": {"dataset": "digits", "validation": 0.2, "crop": 1, "flip": False},
    "search_space": {"name": "resnet20", "width": 4},
    "base": {"epochs": 3, "batch_size": 64, "lr": 0.1},
    "evaluation": {"epochs": 0, "recalibration_images": 256},
    "search": {"random_samples": 4, "num_individual": 4, "generations": 1, "sensitivity": None},
    "retrain": {"select": {"count": 2}, "epochs": 1, "batch_size": 64, "lr": 0.05},
    "workers": {"backend": "local"},
}

NINE_CODES = """
name: nine_codes
network: {family: resnet_cifar, blocks: [1]}
parameters: {width: 2, num_classes: 2, in_channels: 1, image_size: 4}
segments: [{name: first, times: 1}, {name: second, times: 1}]
layers:
  - {name: conv1, kernel: 3, inputs: image, outputs: first, stride_in: 1, stride_out: 1}
  - {name: conv2, kernel: 3, inputs: first, outputs: second, stride_in: 1, stride_out: 1}
  - {name: linear, kind: linear, inputs: second, outputs: classes}
"""
"""A search space of nine codes: two segments of two channels, of which one at least is kept."""


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


@pytest.fixture
def make_experiment(tmp_path: Path):
    """A tiny experiment on digits whose base cache lies in the test's own folder; sections can be changed."""

    def make(**changes: Any) -> Experiment:
        document = merge(merge(TINY, {"base": {"cache": str(tmp_path / "cache")}}), changes)
        return parse_experiment(document, "test")

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One base network for all runs of `tiny` experiments."""
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="session")
def tiny(cache: Path):
    """A tiny experiment on digits whose base network is trained once for all tests; sections can be changed."""

    def make(**changes: Any) -> Experiment:
        return parse_experiment(merge(merge(TINY, {"base": {"cache": str(cache)}}), changes), "test")

    return make


def random_scores(space: SearchSpace, seed: int = 0) -> Scores:
    """Made-up importance of every bit; channels that an adapter ties have the same, as they have in a run."""
    rng = np.random.default_rng(seed)
    slices = {segment.name: segment.slice for segment in space.segments}
    scores = np.empty(space.length)
    for group in space.tied:
        drawn = rng.exponential(size=slices[group[0]].stop - slices[group[0]].start)
        for name in group:
            scores[slices[name]] = drawn
    return scores


def proposals_of(space: SearchSpace, config: SearchConfig) -> dict[str, tuple[float, Proposal]]:
    """The proposals of `config`, with random scores in place of a parent's."""
    scores = {name: random_scores(space) for name in config.importances}
    return make_proposals(space, parse_experiment(TINY, "test").model_copy(update={"search": config}), scores)


def make_searcher(space: SearchSpace, config: SearchConfig, seed: int = 0) -> NSGA3Searcher:
    """A searcher that needs no parent network."""
    return NSGA3Searcher(space, config, make_limits(space, config.limits), proposals_of(space, config), seed)


def run_search(experiment: Experiment, path: Path) -> Path:
    """A search in the folder `path`, as the command does it."""
    from evoprune.run import search
    from evoprune.run_folder import open_run_folder
    from evoprune.setting import prepare

    with open_run_folder(path, experiment) as folder:
        search(prepare(experiment, folder), folder)
    return path


def repeated(path: Path, name: str = "reports.csv") -> str:
    """The text of a run's table without what may differ between two runs."""
    table = pd.read_csv(path / name, dtype=str, keep_default_na=False)
    return table.drop(columns=["seconds", "worker", "model"], errors="ignore").to_csv(index=False)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks this small are slower on many threads, and far slower where other work runs beside the tests."""
    torch.set_num_threads(1)
    monkeypatch.setattr("evoprune.compute.available_cpus", lambda: 1)


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """ResNet-20 with 4 / 8 / 16 channels for 8x8 images with one channel."""
    return load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)


@pytest.fixture
def small_parent(small_space: SearchSpace) -> torch.nn.Module:
    """A small parent whose batch norms are not trivial, in eval mode; the same in every run."""
    torch.manual_seed(0)
    return scramble(build_network(small_space), seed=0).eval()


def scramble(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Give every batch norm random statistics, scale and shift, as training would."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=rng) * (high - low) + low)
    return network


@pytest.fixture(scope="session")
def cifar10_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real CIFAR-10: 1,000 training images and all test images, as an archive."""
    script = SHARED_DATA / "cifar10" / "unpack.py"
    if not script.is_file():
        pytest.skip("the real CIFAR-10 strips are not beside this checkout")
    out = tmp_path_factory.mktemp("cifar10") / "cifar10.npz"
    subprocess.run([sys.executable, str(script), str(out), "--train-strips", "2"], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """Folder of the real ResNet-20/32/56 checkpoints with option A shortcuts."""
    folder = SHARED_DATA / "pretrained"
    if not folder.is_dir():
        pytest.skip("the real pretrained weights are not beside this checkout")
    return folder


class ExactData(Data):
    """Inputs of networks in float64, in which the order of sums does not show."""

    def normalise(self, images: Tensor) -> Tensor:
        return super().normalise(images).double()


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch):
    """Everything in float64: in float32 rounding grows over steps of training until it hides what is compared."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def exact_data() -> Data:
    """160 real training images, 5 steps an epoch, and 100 to validate."""
    whole = load_data(DataConfig(dataset="digits", validation=0.2, crop=1, flip=True), torch.device("cpu"))
    whole = replace(whole, train=Split(whole.train.images[:160], whole.train.labels[:160]))
    whole = replace(whole, validation=Split(whole.validation.images[:100], whole.validation.labels[:100]))
    return ExactData(**{field.name: getattr(whole, field.name) for field in fields(whole)})


@pytest.fixture
def mixed_codes(small_space: SearchSpace) -> list[Code]:
    """The full code, random ones whose stem and trunk differ, one where they agree, and the smallest of all."""
    rng = np.random.default_rng(0)
    drawn = [small_space.repair(code) for code in rng.integers(0, 2, (4, small_space.length), dtype=np.uint8)]
    agreeing = drawn[0].copy()
    stem, trunk = (segment.slice for segment in small_space.segments if segment.name in ("stem", "layer1.final"))
    agreeing[stem] = agreeing[trunk] = [0, 1, 1, 0]
    smallest = small_space.repair(np.zeros(small_space.length, dtype=np.uint8))
    codes = [drawn[0], small_space.full_code(), drawn[1], agreeing, smallest, drawn[2]]
    assert [len(small_space.adapters(code)) for code in codes] == [1, 0, 1, 0, 0, 1]
    return codes
