"""Are the published networks as accurate as the table says? Loads each, and tests it on CIFAR-10's test images.

Of some further seeds the description alone is published, without weights. These are not tested.

Usage: python benchmarks/verify.py [FILE.npz] [--models results/resnet20_cifar10/models ...]
FILE.npz has CIFAR-10 in MedMNIST's layout. Without it torchvision downloads CIFAR-10 into data/. Nothing is trained.
The exit status is 1 where a network differs from its table by more than a hundredth of a point.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from benchmark_tools import markdown
from torch import nn

from evoprune import load_model
from evoprune.config import DataConfig
from evoprune.data.dataset import Part
from evoprune.data.sources import load_raw_data

TOLERANCE = 0.0101
BATCH = 250


@torch.no_grad()
def test_accuracy(network: nn.Module, preprocessing: dict[str, list[float]], test: Part) -> float:
    """Top-1 accuracy in percent, in float32, of images that are normalised as the model's description says."""
    mean, std = (torch.tensor(preprocessing[name])[:, None, None] for name in ("mean", "std"))
    images, labels = (torch.from_numpy(array) for array in test)
    correct = 0
    for batch, wanted in zip(images.permute(0, 3, 1, 2).split(BATCH), labels.split(BATCH), strict=True):
        correct += int((network((batch / 255 - mean) / std).argmax(1) == wanted).sum())
    return 100 * correct / len(labels)


def check(folder: Path, test: Part) -> dict[str, Any]:
    """A row of the table: the network, its size, what was published and what was found."""
    description = json.loads((folder / "model.json").read_text())
    facts = description.get("base", description)
    network = load_model(folder).to(memory_format=torch.channels_last)  # as the images lie
    found = test_accuracy(network, facts["preprocessing"], test)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "network": description.get("key", "base network"),
        "seed": description.get("seed", 0),
        "parameters": parameters,
        "published": facts["test_accuracy"],
        "found": found,
        "same": abs(found - facts["test_accuracy"]) < TOLERANCE,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument(
        "--models", type=Path, nargs="+", default=sorted(Path("results").glob("resnet*_cifar10/models"))
    )
    arguments = parser.parse_args()
    given = {"dataset": "cifar10", "root": "data"}
    if arguments.file is not None:
        given = {"dataset": "npz", "root": str(arguments.file)}
    test = load_raw_data(DataConfig.model_validate(given)).test
    table = pd.DataFrame(
        [
            {"run": models.resolve().parent.name, **check(path.parent, test)}
            for models in arguments.models
            for path in sorted(models.rglob("model.safetensors"))
        ]
    )
    print(markdown(table))
    return 0 if len(table) and table["same"].all() else 1


if __name__ == "__main__":
    raise SystemExit(main())
