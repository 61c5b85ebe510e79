"""A data set as uint8 tensors on the device, and how its images become inputs of a network."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from evoprune.common.seeds import derive_seed
from evoprune.config import DataConfig
from evoprune.data.augment import Plan, crop_and_flip, crop_flip_normalise, draw
from evoprune.data.dataset import Arrays, Part, RawData, Split
from evoprune.data.mapped import MappedImages
from evoprune.data.split import contiguous, split_data


@dataclass(frozen=True)
class TensorSplit:
    """A split that lies on one device: images uint8 (N, channels, height, width), channels last; labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at `indices`, as `Split` says."""
        indices = indices.to(self.labels.device)
        pixels = self.images.permute(0, 2, 3, 1).index_select(0, indices)
        return pixels.permute(0, 3, 1, 2), self.labels[indices]

    def evenly(self, count: int) -> "TensorSplit":
        """`count` of the images at even steps, all of them where there are no more."""
        if count >= len(self):
            return self
        return TensorSplit(*self.batch(torch.arange(count) * len(self) // count))


@dataclass(frozen=True)
class MappedSplit:
    """A split whose images stay in a file that processes share; batches are on the CPU. Labels int64 (N,)."""

    images: MappedImages
    labels: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at `indices`, as `Split` says."""
        indices = indices.cpu()
        return torch.from_numpy(self.images.read(indices.numpy())).permute(0, 3, 1, 2), self.labels[indices]

    def evenly(self, count: int) -> "MappedSplit":
        """`count` of the images at even steps, all of them where there are no more."""
        if count >= len(self):
            return self
        places = torch.arange(count) * len(self) // count
        return MappedSplit(self.images[places.numpy()], self.labels[places])


@dataclass(frozen=True)
class Data:
    """Training and validation splits, and how an image becomes a network's input.

    Attributes:
        train: images that weights may learn from.
        validation: images that the search is scored on.
        mean: per channel, of pixels scaled to [0, 1], shape (channels, 1, 1).
        std: likewise.
        crop: pixels of zero padding for random crops while training; 0 for none.
        flip: whether training mirrors images: at random, or "alternating".
        num_classes: number of classes.
        classes: their names in the order of the labels, where they are known.
    """

    train: Split
    validation: Split
    mean: Tensor
    std: Tensor
    crop: int
    flip: bool | str
    num_classes: int
    classes: tuple[str, ...] | None = None

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) -> float32 input of a network, channels last."""
        scaled = images.to(torch.float32, memory_format=torch.channels_last)
        return scaled.mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    def augment(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Random crop after zero padding and random mirroring of a uint8 batch, drawn image by image from `rng`."""
        return crop_and_flip(images, self.crop, draw(len(images), self.crop, bool(self.flip), rng))

    def sides(self, seed: int, epoch: int) -> Tensor | None:
        """Which training images are mirrored in an epoch, bool (images,), where that alternates; otherwise None."""
        if self.flip != "alternating":
            return None
        rng = torch.Generator().manual_seed(derive_seed(seed, "sides"))
        return (torch.rand(len(self.train), generator=rng) < 0.5) ^ bool(epoch % 2)

    def plan(self, indices: Tensor, rng: torch.Generator, sides: Tensor | None = None) -> Plan:
        """A training step on the images at `indices`, with what their augmentation draws from `rng`.

        Args:
            indices: of training images, int64 (batch,).
            rng: chance.
            sides: of the epoch.
        """
        drawn = draw(len(indices), self.crop, self.flip is True, rng)
        return Plan(indices, drawn.offsets, drawn.mirrored if sides is None else sides[indices])

    def training_batch(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """Inputs of a training step, normalise(augment(images)), and labels.

        A plan that lies on the GPU with the images is carried out without waiting, as a CUDA graph needs it.
        """
        images, labels = self.train.batch(plan.indices)
        if images.device.type != "cpu":
            return self.normalise(crop_and_flip(images, self.crop, plan.drawn)), labels
        return crop_flip_normalise(images, self.crop, plan.drawn, self.mean, self.std), labels

    @property
    def preprocessing(self) -> dict[str, list[float]]:
        """What a deployed model's input needs: height and width, and (pixel / 255 - mean) / std per channel."""
        _, height, width = self.train.image_shape
        mean, std = (values.flatten().tolist() for values in (self.mean, self.std))
        return {"image_size": [height, width], "mean": mean, "std": std}


def make_data(raw: RawData, config: DataConfig, device: torch.device) -> Data:
    """Training and validation split of a data set on `device`. Test images are not in reach of what this returns."""
    return place_data(split_data(raw, config), device)


def place_data(arrays: Arrays, device: torch.device) -> Data:
    """`arrays` as tensors: on the CPU they share the arrays' memory, a GPU gets its copy."""
    return Data(
        train=to_split(arrays.train, device),
        validation=to_split(arrays.validation, device),
        mean=torch.tensor(arrays.mean, dtype=torch.float32, device=device)[:, None, None],
        std=torch.tensor(arrays.std, dtype=torch.float32, device=device)[:, None, None],
        crop=arrays.crop,
        flip=arrays.flip,
        num_classes=arrays.num_classes,
        classes=arrays.classes,
    )


def to_split(part: Part, device: torch.device) -> TensorSplit | MappedSplit:
    """NumPy images and labels -> tensors on `device`, without a copy on the CPU; there images of a file stay in it."""
    images, labels = contiguous(part)
    placed = _from_numpy(labels).to(device)
    if not isinstance(images, MappedImages):
        return TensorSplit(_from_numpy(images).to(device).permute(0, 3, 1, 2), placed)
    if device.type == "cpu":
        return MappedSplit(images.open(), placed)
    return TensorSplit(_send(images, device).permute(0, 3, 1, 2), placed)


def _from_numpy(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():  # arrays that processes share are read-only, and nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _send(images: MappedImages, device: torch.device) -> Tensor:
    """Images of a file on a GPU, (N, height, width, channels), which pass through memory some at a time."""
    sent, first = torch.empty(images.shape, dtype=torch.uint8, device=device), 0
    for some in images.chunks():
        sent[first : first + len(some)] = torch.from_numpy(some)
        first += len(some)
    return sent
