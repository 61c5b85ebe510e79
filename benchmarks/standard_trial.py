"""One candidate measured as it is commonly written; `candidate_throughput.py` starts this as a fresh process.

The full-width network with masked channels, torchvision transforms on PIL images in a DataLoader with workers, float32,
default memory layout. Usage: python benchmarks/standard_trial.py TRIAL.json, and prints one JSON line.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from evoprune import load_model, load_search_space
from evoprune.space.space import SearchSpace


class Images(Dataset[Any]):
    """Images uint8 (N, height, width, channels) and labels, transformed one by one."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any):
        self._images, self._labels, self._transform = images, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


def make_loaders(trial: dict[str, Any]) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of `num_images` shuffled and augmented training images, and of all validation images."""
    data = np.load(trial["data"])
    to_input = [transforms.ToTensor(), transforms.Normalize(trial["mean"], trial["std"])]
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    chosen = np.random.default_rng(trial["seed"]).permutation(len(data["train_labels"]))[: trial["num_images"]]
    train = Images(data["train_images"][chosen], data["train_labels"][chosen], transforms.Compose(augment + to_input))
    validation = Images(data["val_images"], data["val_labels"], transforms.Compose(to_input))
    workers = trial["loader_workers"]
    return (
        DataLoader(train, trial["batch_size"], shuffle=True, drop_last=True, num_workers=workers),
        DataLoader(validation, 500, num_workers=workers),
    )


def mask_channels(network: nn.Module, space: SearchSpace, code: str) -> None:
    """Multiply pruned channels by zero: after the batch norm, or after the block where a shortcut is added to them."""
    bits = space.parse_code(code)
    for layer in space.layers:
        segment = next((segment for segment in space.segments if segment.name == layer.outputs), None)
        if segment is None:
            continue
        mask = torch.from_numpy(bits[segment.slice].astype(np.float32))[:, None, None]
        place = layer.name.rpartition(".")[0] if segment.name.endswith(".final") else layer.norm
        network.get_submodule(place).register_forward_hook(lambda _m, _i, out, mask=mask: out * mask)


def train_and_score(
    network: nn.Module, loaders: Sequence[DataLoader[Any]], trial: dict[str, Any], device: torch.device
) -> float:
    """Train on the first loader, return the accuracy on the second in percent."""
    train, validation = loaders
    network.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=trial["lr"], momentum=0.9, nesterov=True, weight_decay=trial["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(train))
    network.train()
    for images, labels in train:
        optimizer.zero_grad()
        F.cross_entropy(network(images.to(device)), labels.to(device)).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in validation:
            correct += int((network(images.to(device)).argmax(1).cpu() == labels).sum())
            total += len(labels)
    return 100 * correct / total


def main() -> None:
    trial = json.loads(Path(sys.argv[1]).read_text())
    started = time.monotonic()
    torch.manual_seed(trial["seed"])
    network = load_model(trial["base"])
    mask_channels(network, load_search_space(trial["space"]), trial["code"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    accuracy = train_and_score(network, make_loaders(trial), trial, device)
    print(json.dumps({"accuracy": accuracy, "seconds_inside": round(time.monotonic() - started, 2)}))


if __name__ == "__main__":
    main()
