"""Which images each step of a training sees."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from evoprune.common.seeds import derive_seed
from evoprune.data.augment import Plan
from evoprune.data.tensors import Data

EVALUATION_BATCH = 500
"""Images at once where nothing is learnt."""


@dataclass(frozen=True)
class Steps:
    """The steps of one training, epoch by epoch.

    Attributes:
        num_images: of the training split.
        wanted_batch_size: images of each step, where there are so many.
        epochs: length of the training; a part of one is allowed.
    """

    num_images: int
    wanted_batch_size: int
    epochs: float

    @property
    def batch_size(self) -> int:
        """Images of each step."""
        return min(self.wanted_batch_size, self.num_images)

    @property
    def per_epoch(self) -> int:
        """Whole batches of the training split."""
        return self.num_images // self.batch_size

    @property
    def number(self) -> int:
        """Steps of the whole training; at least one, unless it has no epochs."""
        return max(1, round(self.epochs * self.per_epoch)) if self.epochs else 0

    @property
    def num_epochs(self) -> int:
        """Epochs, a part of one counted whole."""
        return math.ceil(self.number / self.per_epoch)

    def first_of(self, epoch: int) -> int:
        """The first step of `epoch`; both counted from 0."""
        return min(epoch * self.per_epoch, self.number)

    def plans(self, data: Data, seed: int, epoch: int) -> Iterator[tuple[int, Plan]]:
        """Number and plan of each step of `epoch`; for images on a GPU the plans are sent there at once."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        order = batches(len(data.train), self.batch_size, rng)
        sides = data.sides(seed, epoch)
        numbers = range(self.first_of(epoch), self.first_of(epoch + 1))
        plans: Iterable[Plan] = (data.plan(indices, rng, sides) for _, indices in zip(numbers, order, strict=False))
        device = data.mean.device
        if device.type != "cpu":
            plans = map(Plan, *(torch.stack(field).to(device) for field in zip(*plans, strict=True)))
        yield from zip(numbers, plans, strict=True)

    def batches(self, data: Data, seed: int, epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number of the step, augmented and normalised images, and labels, for each step of `epoch`."""
        for step, plan in self.plans(data, seed, epoch):
            yield step, *data.training_batch(plan)


def batches(size: int, batch_size: int, rng: torch.Generator | None = None) -> Iterator[Tensor]:
    """Index batches over `size` items: in order and complete, or shuffled by `rng` without the short last one."""
    if rng is None:
        yield from torch.arange(size).split(batch_size)
        return
    order = torch.randperm(size, generator=rng)
    for start in range(0, size - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def training_sample(data: Data, num_images: int, seed: int, batch_size: int = EVALUATION_BATCH) -> Iterator[Tensor]:
    """Batches of nearly equal size of augmented training images, as uint8, drawn without replacement."""
    rng = torch.Generator().manual_seed(derive_seed(seed, "sample"))
    chosen = torch.randperm(len(data.train), generator=rng)[:num_images]
    for indices in chosen.chunk(math.ceil(len(chosen) / batch_size)):
        yield data.augment(data.train.batch(indices)[0], rng)
