"""The parent network: given weights, or trained on the training split, once for all runs of the same recipe."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evoprune.checkpoints import DESCRIPTION_NAME, load_weights, read_description, save_model
from evoprune.compute import Compute
from evoprune.config import Experiment, TrainingConfig
from evoprune.data import Data, make_data, to_split
from evoprune.datasets import RawData
from evoprune.networks import build_network, network_spec
from evoprune.run_folder import lock_folder
from evoprune.seeds import derive_seed
from evoprune.space import SearchSpace
from evoprune.training import Epoch, accuracy, measure_neutral_norms, train

_FP32 = False


@dataclass(frozen=True)
class Base:
    """The parent network on the CPU, and what is known of it (accuracies in percent, where it came from)."""

    network: nn.Module
    info: dict[str, Any]


def prepare_base(experiment: Experiment, space: SearchSpace, raw: RawData, compute: Compute) -> Iterator[Epoch | Base]:
    """Yields the epochs of a training where one is needed, and the base network last."""
    data = make_data(raw, experiment.data, compute.device)
    if experiment.base.weights is not None:
        yield _imported_base(experiment, space, raw, data, compute)
        return
    folder = base_folder(experiment, space, raw)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, wait=True):
        if not (folder / DESCRIPTION_NAME).is_file():
            yield from _train_base(experiment, space, raw, data, compute, folder)
    yield load_base(space, folder)


def save_base(base: Base, space: SearchSpace, folder: Path) -> None:
    """Save a base network so that `load_base` and `evoprune.load_model` read it."""
    save_model(base.network, network_spec(space), folder, base=base.info)


def load_base(space: SearchSpace, folder: Path) -> Base:
    """Load what `save_base` saved."""
    return Base(load_weights(build_network(space), folder).eval(), read_description(folder)["base"])


def base_folder(experiment: Experiment, space: SearchSpace, raw: RawData) -> Path:
    """Where the base network of this recipe, data, seed and precision is kept."""
    identity = {
        "space": [space.name, dict(space.network), [repr(part) for part in (*space.segments, *space.layers)]],
        "parameters": dict(space.parameters),
        "data": experiment.data.model_dump(mode="json"),
        "images": [zlib.crc32(np.ascontiguousarray(part[::97]).tobytes()) for part in raw.train],
        "recipe": _recipe(experiment).model_dump(mode="json"),
        "seed": experiment.seed,
        "precision": experiment.precision,
    }
    digest = derive_seed(json.dumps(identity, sort_keys=True))
    return Path(experiment.base.cache) / f"{space.name}-{digest:016x}"


def _recipe(experiment: Experiment) -> TrainingConfig:
    return TrainingConfig(**{name: getattr(experiment.base, name) for name in TrainingConfig.model_fields})


def _train_base(
    experiment: Experiment, space: SearchSpace, raw: RawData, data: Data, compute: Compute, folder: Path
) -> Iterator[Epoch]:
    seed = derive_seed(experiment.seed, "base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(space).to(compute.device)
    checkpoint = folder / "training.ckpt"
    seconds = 0.0
    for epoch in train(network, data, experiment.base, compute, seed, checkpoint=checkpoint):
        seconds += epoch.seconds
        yield epoch
    info = {
        "source": "trained on the training split",
        "seconds": round(seconds, 1),
        "recipe": _recipe(experiment).model_dump(mode="json"),
        "preprocessing": preprocessing(data),
        **_accuracies(network, raw, data, compute),
    }
    save_base(Base(network, info), space, folder)
    checkpoint.unlink(missing_ok=True)


def _imported_base(experiment: Experiment, space: SearchSpace, raw: RawData, data: Data, compute: Compute) -> Base:
    path = experiment.base.weights
    assert path is not None
    network = load_weights(build_network(space), path).to(compute.device).eval()
    info = {
        "source": path,
        "preprocessing": preprocessing(data),
        **_accuracies(network, raw, data, compute),
        "warnings": [
            f"{path} was trained elsewhere: if it has seen the validation images, "
            "their accuracy tests its memory; set data.validation to images that it has not seen"
        ],
    }
    measure_neutral_norms(network, data, experiment.evaluation.recalibration_images, Compute(compute.device, _FP32))
    return Base(network.cpu(), info)


def _accuracies(network: nn.Module, raw: RawData, data: Data, compute: Compute) -> dict[str, float]:
    exact = Compute(compute.device, _FP32)
    return {
        "validation_accuracy": accuracy(network, data, data.validation, exact),
        "test_accuracy": accuracy(network, data, to_split(raw.test, compute.device), exact),
    }


def preprocessing(data: Data) -> dict[str, list[float]]:
    """What a deployed model's input needs: (pixel / 255 - mean) / std per channel."""
    return {"mean": data.mean.flatten().tolist(), "std": data.std.flatten().tolist()}
