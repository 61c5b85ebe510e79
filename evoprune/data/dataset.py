"""Types of a data set: as it is read, as it is split, and what a network sees of a split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # data sets are read and split without torch
    from torch import Tensor

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Part = tuple[Images, Labels]
"""Images, shape (N, height, width, channels), and their labels, shape (N,)."""


@dataclass(frozen=True)
class DataShape:
    """What a search space must know of a data set."""

    num_classes: int
    in_channels: int
    image_size: int


@dataclass(frozen=True)
class RawData:
    """A data set as it is read; `validation` is its own validation part, or None where it has none."""

    train: Part
    test: Part
    validation: Part | None
    num_classes: int


@dataclass(frozen=True)
class Arrays:
    """What workers share of a data set, as contiguous NumPy arrays; no test image is in it.

    Attributes:
        train: images that weights may learn from, and labels.
        validation: those that the search is scored on.
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        crop: pixels of zero padding for random crops while training; 0 for none.
        flip: whether training mirrors images at random.
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
class Dataset:
    """A data set as a run uses it.

    Attributes:
        arrays: training and validation images.
        test: contiguous, of no use to a search.
        fingerprint: checksums of some training images and of their labels, by which data sets are told apart.
    """

    arrays: Arrays
    test: Part
    fingerprint: tuple[int, int]


class Split(Protocol):
    """Images with labels, in memory or not. Whoever reads images reads them through this."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batch(self, indices: "Tensor") -> "tuple[Tensor, Tensor]":
        """Images uint8 (batch, channels, height, width), channels last in memory, and labels int64 (batch,).

        Args:
            indices: int64 (batch,), on any device; the images are on the split's.
        """
        ...

    def evenly(self, count: int) -> "Split":
        """`count` of the images at even steps, all of them where there are no more: images may be sorted by class."""
        ...
