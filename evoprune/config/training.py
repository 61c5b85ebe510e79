"""The keys of every training, and of distillation."""

from typing import Annotated

from pydantic import Field

from evoprune.config.section import Epochs, Section


class TrainingConfig(Section):
    """One training: SGD with Nesterov momentum; the learning rate falls along a cosine to 0."""

    epochs: Epochs = 200.0
    """Length of the training. A part of an epoch is allowed: 0.5 sees half of the images."""
    batch_size: Annotated[int, Field(ge=2, le=10**6)] = 128
    """Images of one step."""
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Highest learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay of SGD."""
    warmup_epochs: Epochs = 0.0
    """Epochs in which the learning rate rises linearly, before the cosine."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""


class DistillationConfig(Section):
    """Learning from the base network's outputs (Hinton et al. 2015).

    loss = (1 - weight) * cross-entropy + weight * temperature^2 * KL(base network || network).
    """

    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the loss that the base network's outputs have."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """Softens both outputs before they are compared."""
