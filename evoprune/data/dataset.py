"""Types of a data set: as it is read, as it is split, and what a network sees of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from evoprune.data.mapped import MappedImages

if TYPE_CHECKING:  # data sets are read and split without torch
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]
Images = Pixels | MappedImages
"""In memory, or in a file. Indexing chooses images of either, and `np.asarray` has their pixels in memory."""
Labels = npt.NDArray[np.int64]
Part = tuple[Images, Labels]
"""Images, shape (N, height, width, channels), and their labels, shape (N,)."""


@dataclass(frozen=True)
class DataShape:
    """What a search space must know of a data set.

    Attributes:
        num_classes: number of classes.
        in_channels: of an image.
        image_size: side of square images in pixels; (height, width) of others.
    """

    num_classes: int
    in_channels: int
    image_size: int | tuple[int, int]

    def __post_init__(self) -> None:
        """Have one form for each size, also where it was read from JSON."""
        if isinstance(self.image_size, Sequence):
            height, width = self.image_size
            object.__setattr__(self, "image_size", height if height == width else (height, width))

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size


@dataclass(frozen=True)
class RawData:
    """A data set as it is read.

    Attributes:
        train: training images, of which some may be set aside for validation.
        test: test images.
        validation: its own validation part, or None where it has none.
        num_classes: number of classes.
        classes: their names in the order of the labels; None where the data set does not say.
    """

    train: Part
    test: Part
    validation: Part | None
    num_classes: int
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Arrays:
    """What workers share of a data set: contiguous NumPy arrays, or images in a file; no test image is in it.

    Attributes:
        train: images that weights may learn from, and labels.
        validation: those that the search is scored on.
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        crop: pixels of zero padding for random crops while training; 0 for none.
        flip: whether training mirrors images: at random, or "alternating".
        num_classes: number of classes.
        classes: as in `RawData`.
    """

    train: Part
    validation: Part
    mean: list[float]
    std: list[float]
    crop: int
    flip: bool | str
    num_classes: int
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set as a run uses it.

    Attributes:
        arrays: training and validation images.
        test: contiguous, of no use to a search.
        fingerprint: checksums of all images and labels, by which data sets are told apart.
    """

    arrays: Arrays
    test: Part
    fingerprint: tuple[int, ...]


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
