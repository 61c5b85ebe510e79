"""What the tests share: a tiny experiment, made-up scores, runs in this process."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from evoprune.config import DataConfig, Experiment, SearchConfig, parse_experiment
from evoprune.data.sources import load_raw_data
from evoprune.data.tensors import Data, TensorSplit, make_data
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.table import Table
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.search.proposals.proposal import Proposal
from evoprune.space.limits import make_limits
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

TINY: dict[str, Any] = {
    "name": "tiny",
    "precision": "fp32",
    "data": {"dataset": "digits", "validation": 0.2, "crop": 1, "flip": False},
    "search_space": {"name": "resnet20", "width": 4},
    "base": {"epochs": 3, "batch_size": 64, "lr": 0.1},
    "evaluation": {"epochs": 0, "recalibration_images": 256},
    "search": {
        "random_samples": 4,
        "num_individual": 4,
        "generations": 1,
        "sensitivity": None,
        "proposal": "evolution",
    },
    "retrain": {"select": {"count": 2}, "epochs": 1, "batch_size": 64, "lr": 0.05},
    "workers": {"backend": "local"},
}

SLOW_SEARCH: dict[str, Any] = {"evaluation": {"epochs": 0.25, "batch_size": 16}, "search": {"generations": 3}}
"""Changes of the tiny experiment with which a search can be stopped in its middle; `slow_run` is not stopped."""

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


def on_one_core() -> None:
    """For processes that tests start: networks this small are far slower on two threads where other work runs.

    Tests that run side by side take different cores.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


def interrupt() -> NoReturn:
    """As Ctrl-C does: the signal comes, and who handles it raises."""
    signal.raise_signal(signal.SIGINT)
    raise KeyboardInterrupt


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def random_scores(space: SearchSpace, seed: int = 0) -> Scores:
    """Made-up importance of every bit; channels that an adapter ties have the same, as they have in a run."""
    rng = np.random.default_rng(seed)
    scores = np.empty(space.length)
    for group in space.groups:
        group.put(scores, rng.exponential(size=group.width))
    return scores


def proposals_of(space: SearchSpace, config: SearchConfig) -> dict[str, tuple[float, Proposal]]:
    """The proposals of `config`, with random scores in place of a base network's."""
    scores: dict[str, Scores] = {name: random_scores(space) for name in config.importances}
    experiment = parse_experiment(TINY, "test").model_copy(update={"search": config})
    return make_proposals(Knowledge(space, experiment, scores))


def make_searcher(space: SearchSpace, config: SearchConfig, seed: int = 0) -> NSGA3Searcher:
    """A searcher that needs no base network."""
    limits = make_limits(space, config.limits, round_to=config.round_to)
    return NSGA3Searcher(space, config, limits, proposals_of(space, config), seed)


def prepared(experiment: Experiment, folder: RunFolder) -> Context:
    """A context whose folder has the base network and the scores that the search's proposals need."""
    context = Context(experiment, folder)
    prepare(context)
    return context


def run_search(experiment: Experiment, path: Path, **arguments: Any) -> Path:
    """A search in the folder `path`, as the command does it; `arguments` are those of `search`."""
    from evoprune.stages.search import search

    with open_run_folder(path, experiment) as folder:
        search(prepared(experiment, folder), **arguments)
    return path


def repeated(path: Path, name: str = "reports.csv") -> str:
    """The text of a run's table without what may differ between two runs."""
    table = pd.read_csv(path / name, dtype=str, keep_default_na=False)
    return table.drop(columns=["seconds", "worker", "model", "check"], errors="ignore").to_csv(index=False)


def without_checks(path: Path) -> str:
    """The text of a table without its checksums, which is read still: for tests that change a cell."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line.rpartition(",")[0] + "\n" for line in lines)


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


def load_data(config: DataConfig, device: torch.device) -> Data:
    """The training and validation splits of a data set on `device`."""
    return make_data(load_raw_data(config), config, device)


def few_digits(num_images: int, flip: bool = False) -> Data:
    """Real digits of which only the first `num_images` are to train on, cropped at random, and mirrored with `flip`."""
    data = load_data(DataConfig(dataset="digits", validation=0.2, crop=1, flip=flip), torch.device("cpu"))
    train = data.train
    assert isinstance(train, TensorSplit)
    return replace(data, train=TensorSplit(train.images[:num_images], train.labels[:num_images]))


def plain_data(images: Tensor, labels: Tensor) -> Data:
    """Images that reach the network as pixel / 255, to train on and to validate on."""
    split = TensorSplit(images, labels)
    return Data(split, split, torch.zeros(1, 1, 1), torch.ones(1, 1, 1), crop=0, flip=False, num_classes=10)


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two networks have the same weights and statistics, bit by bit."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def without_norm(space: SearchSpace, name: str) -> SearchSpace:
    """The space with one layer that no batch norm follows."""
    layers = (replace(layer, norm=None) if layer.name == name else layer for layer in space.layers)
    return replace(space, layers=tuple(layers))


def die_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[dict]:
    """Interrupt the process when a table is to get its row `number`, counted from 0; returns the rows so far."""
    real, rows = Table.append, []

    def dying(self: Table, row: dict) -> None:
        if len(rows) == number:
            interrupt()
        rows.append(row)
        real(self, row)

    monkeypatch.setattr(Table, "append", dying)
    return rows


def refuse_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoprune.stages.measure_candidates.job_factory", None)
