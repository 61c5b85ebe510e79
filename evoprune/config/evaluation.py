"""The section `evaluation`."""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from evoprune.config.section import Epochs, Positive, Section
from evoprune.config.training import TrainingConfig
from evoprune.config.values import command_words


class Fidelity(NamedTuple):
    """How a candidate is measured: epochs of short training, and validation images scored (None: all of them)."""

    epochs: float
    validation_images: int | None = None


class RungConfig(Section):
    """A cheaper measurement before the full one."""

    epochs: Epochs
    """Length of the short training; 0 measures batch norm again and trains nothing."""
    promote: Annotated[float, Field(gt=0, lt=1)]
    """Share of this rung's candidates that the next rung measures again: 0.33 is the best third."""
    validation_images: Positive | None = None
    """Validation images scored; by default all."""


class EvaluationConfig(TrainingConfig):
    """How one candidate is measured: by a short training with these keys, from the base network's weights."""

    epochs: Epochs = 0.0
    """Length of the short training, in which all candidates see the same images; 0 only measures batch norm again.
    Above 0, `warmup_epochs: 0.1` ranks better (`docs/results/equal_flops.md`)."""
    ladder: Annotated[tuple[RungConfig, ...], Field(strict=False)] = ()
    """Cheaper measurements that come first, called rungs, such as
    `[{epochs: 0, validation_images: 1000, promote: 0.33}]`: all candidates begin there, and the best third is measured
    again for `epochs`, which must be more. Off by default: at equal time its front was 1 to 3 %
    smaller (`docs/results/ladder.md`)."""
    lr: Annotated[float, Field(gt=0)] = 0.02
    """Highest learning rate of the short training."""
    recalibration_images: Positive = 2048
    """Training images that measure batch norm's statistics again, where training is shorter than 30 steps."""
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which a candidate has failed."""
    latency_batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    """Images of one forward pass, where latency is measured."""
    latency_precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic in which latency is measured: `fp32`, as models are saved and run, or `bf16`, by autocast."""
    latency_limit_s: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Seconds that a measurement of latency may take. It ends before, when its spread is below 3 %; else the spread is
    told. A `latency_command` that takes longer has failed."""
    latency_command: Annotated[
        tuple[str, ...] | None, Field(strict=False, min_length=1), BeforeValidator(command_words)
    ] = None
    """A command that measures latency elsewhere, such as `./on_the_board.sh {model}`, or a list of words. `{model}` is
    the folder of a saved model. The last line that it prints is the latency in ms. No shell is involved."""

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """How each rung measures, the full fidelity last."""
        return (*(Fidelity(rung.epochs, rung.validation_images) for rung in self.ladder), Fidelity(self.epochs))

    @field_validator("ladder")
    @classmethod
    def _check_ladder(cls, ladder: tuple[RungConfig, ...], info: ValidationInfo) -> tuple[RungConfig, ...]:
        above = [info.data["epochs"]] if "epochs" in info.data else []  # not there where it is wrong itself
        epochs = [rung.epochs for rung in ladder] + above
        if any(lower >= higher for lower, higher in pairwise(epochs)):
            raise ValueError("rungs whose epochs grow from each to the next and stay below evaluation.epochs")
        return ladder
