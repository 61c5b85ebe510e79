"""What each step of a training sees: images, their augmentation, the learning rate; of one network or of many."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from evoprune.config import TrainingConfig
from evoprune.data import Data, batches
from evoprune.seeds import derive_seed


@dataclass(frozen=True)
class Schedule:
    """Which images each step of a training sees, and its learning rate.

    Attributes:
        recipe: epochs, batch size, learning rate and so on.
        num_images: of the training split.
    """

    recipe: TrainingConfig
    num_images: int

    @property
    def batch_size(self) -> int:
        """Images of each step."""
        return min(self.recipe.batch_size, self.num_images)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of the training split."""
        return self.num_images // self.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the whole training; at least one, unless it has no epochs."""
        return max(1, round(self.recipe.epochs * self.steps_per_epoch)) if self.recipe.epochs else 0

    @property
    def num_epochs(self) -> int:
        """Epochs, a part of one counted whole."""
        return math.ceil(self.num_steps / self.steps_per_epoch)

    def step_of(self, epoch: int) -> int:
        """The first step of `epoch`; both counted from 0."""
        return min(epoch * self.steps_per_epoch, self.num_steps)

    def lr_at(self, step: int) -> float:
        """Learning rate of `step`: a linear warm-up, then a cosine that is 0 after the last step."""
        warmup = min(round(self.recipe.warmup_epochs * self.steps_per_epoch), self.num_steps - 1)
        if step < warmup:
            return self.recipe.lr * (step + 1) / (warmup + 1)
        return self.recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.num_steps - warmup)))

    def batches(self, data: Data, seed: int, epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number of the step, augmented and normalised images, and labels, for each step of `epoch`."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))
        order = batches(len(data.train), self.batch_size, rng)
        steps = range(self.step_of(epoch), self.step_of(epoch + 1))
        for step, indices in zip(steps, order, strict=False):
            chosen = indices.to(data.train.labels.device)
            yield step, data.training_batch(chosen, rng), data.train.labels[chosen]
