"""Data sets as uint8 tensors on the device; augmentation and normalisation on whole batches."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evoprune.config import DataConfig
from evoprune.datasets import Part, RawData, load_raw_data, split_train_validation
from evoprune.errors import UserError


@dataclass(frozen=True)
class Arrays:
    """What workers share of a data set, as contiguous NumPy arrays; no test image is in it.

    Attributes:
        train: images uint8 (N, height, width, channels) that weights may learn from, and labels int64 (N,).
        validation: those that the search is scored on.
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        crop: as in `Data`.
        flip: as in `Data`.
        num_classes: number of classes.
    """

    train: Part
    validation: Part
    mean: list[float]
    std: list[float]
    crop: int
    flip: bool
    num_classes: int


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, channels, height, width), channels last in memory; labels int64 (N,); both on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def evenly(self, count: int) -> "Split":
        """`count` of the images at even steps, all of them where there are no more: images may be sorted by class."""
        if count >= len(self):
            return self
        chosen = torch.arange(count, device=self.labels.device) * len(self) // count
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Data:
    """Training and validation splits, and how an image becomes a network's input.

    Attributes:
        train: images that weights may learn from.
        validation: images that the search is scored on.
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        crop: pixels of zero padding for random crops while training; 0 for none.
        flip: whether training mirrors images at random.
        num_classes: number of classes.
    """

    train: Split
    validation: Split
    mean: Tensor
    std: Tensor
    crop: int
    flip: bool
    num_classes: int

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) -> float32 input of a network, channels last."""
        scaled = images.to(torch.float32, memory_format=torch.channels_last)
        return scaled.mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    def augment(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Random crop after zero padding and random mirroring of a uint8 batch, drawn image by image from `rng`."""
        offsets, mirrored = self._draw(len(images), rng)
        if self.crop:
            images = _crop(images, self.crop, offsets)
        if self.flip:
            images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)
        return images

    def training_batch(self, indices: Tensor, rng: torch.Generator) -> Tensor:
        """normalise(augment(train.images[indices], rng)): on the CPU in one pass over the pixels."""
        images = self.train.images
        if images.device.type != "cpu":
            return self.normalise(self.augment(images[indices], rng))
        from evoprune import kernels

        offsets, mirrored = self._draw(len(indices), rng)
        out = torch.empty((len(indices), *images.shape[1:]), memory_format=torch.channels_last)
        scale, shift = (1 / (255 * self.std)).flatten(), (self.mean / self.std).flatten()
        drawn = indices.numpy(), (offsets - self.crop).numpy(), mirrored.numpy()
        pixels, normalised = (tensor.permute(0, 2, 3, 1).numpy() for tensor in (images, out))
        kernels.crop_flip_normalise(pixels, *drawn, scale.numpy(), shift.numpy(), normalised)
        return out

    def _draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """First row and column of each image's crop, shape (2, count), and whether it is mirrored."""
        offsets, mirrored = torch.zeros(2, count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
        if self.crop:
            offsets = torch.randint(0, 2 * self.crop + 1, (2, count), generator=rng)
        if self.flip:
            mirrored = torch.rand(count, generator=rng) < 0.5
        return offsets, mirrored


def load_data(config: DataConfig, device: torch.device) -> Data:
    """Load the training and validation splits onto `device`. Test images are not in reach of what this returns."""
    return make_data(load_raw_data(config), config, device)


def make_data(raw: RawData, config: DataConfig, device: torch.device) -> Data:
    """As `load_data`, of a data set that is already in memory."""
    return place_data(split_data(raw, config), device)


def split_data(raw: RawData, config: DataConfig) -> Arrays:
    """Split a data set and measure its pixels: all that is done once, however many workers there are."""
    train, validation = (contiguous(part) for part in split_train_validation(raw, config))
    mean, std = _statistics(train, config)
    return Arrays(train, validation, mean, std, config.crop, config.flip, raw.num_classes)


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
    )


def contiguous(part: Part) -> Part:
    """The same images and labels as whole blocks of memory, which processes can share."""
    return np.ascontiguousarray(part[0]), np.ascontiguousarray(part[1])


def to_split(part: Part, device: torch.device) -> Split:
    """NumPy images (N, height, width, channels) and labels -> tensors on `device`, without a copy on the CPU."""
    images, labels = contiguous(part)
    with warnings.catch_warnings():  # arrays that processes share are read-only, and nothing here writes to images
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = torch.from_numpy(images), torch.from_numpy(labels)
    return Split(tensors[0].to(device).permute(0, 3, 1, 2), tensors[1].to(device))


def batches(size: int, batch_size: int, rng: torch.Generator | None = None) -> Iterator[Tensor]:
    """Index batches over `size` items: in order and complete, or shuffled by `rng` without the short last one."""
    if rng is None:
        yield from torch.arange(size).split(batch_size)
        return
    order = torch.randperm(size, generator=rng)
    for start in range(0, size - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def _crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    rows = (offsets[0, :, None] + torch.arange(height)).to(images.device)
    columns = (offsets[1, :, None] + torch.arange(width)).to(images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _statistics(train: Part, config: DataConfig) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel in [0, 1]: the configured ones, or those of the training split."""
    images, channels = train[0], train[0].shape[3]
    for key, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            raise UserError(f"data.{key}: one number per channel, so {channels}; got {len(given)}")
    counts = np.stack([np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(channels)])
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    std = np.sqrt(np.maximum(counts @ values**2 / counts.sum(axis=1) - mean**2, 1e-12))
    return list(config.mean or mean), list(config.std or std)
