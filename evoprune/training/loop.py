"""The training loop."""

import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from evoprune.common.errors import LOSS_NOT_FINITE, TIME_IS_UP, TrainingError, reason_of
from evoprune.common.files import write_atomically
from evoprune.common.schedules import warmup_cosine
from evoprune.common.seeds import derive_seed
from evoprune.config import TrainingConfig
from evoprune.data.augment import Plan
from evoprune.data.batches import Steps
from evoprune.data.tensors import Data
from evoprune.networks.checkpoints import full_state, load_state
from evoprune.networks.device import CPU, Compute
from evoprune.networks.draws import seeded
from evoprune.networks.fusion import fused
from evoprune.training.cuda_graph import GraphedStep
from evoprune.training.distillation import Teacher

BATCHES_PER_CHECK = 20


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training printed: number from 1, mean loss, learning rate at its end, seconds."""

    number: int
    num_epochs: int
    loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class TrainingOptions:
    """What a training may have beside its recipe.

    Attributes:
        seed: of the order of images, their augmentation, and dropout; the same seed and arithmetic give the same
            weights.
        teacher: a network to distil from as well.
        averaging: decay of a moving average over the weights and buffers of all steps, which the training then leaves.
        deadline: `time.monotonic()` after which training stops with an error.
        checkpoint: file that keeps the state of a long training; one that is there is continued.
        after_step: may change the network's parameters in place. It is called with the share of the training that is
            done, in [0, 1]: once before the first step, also of a training that is continued, and after every step.
        notice: is told where that file cannot be continued.
    """

    seed: int = 0
    teacher: Teacher | None = None
    averaging: float | None = None
    deadline: float | None = None
    checkpoint: Path | None = None
    after_step: Callable[[float], None] | None = None
    notice: Callable[[str], None] = warnings.warn


def train(
    network: nn.Module,
    data: Data,
    recipe: TrainingConfig,
    compute: Compute = CPU,
    options: TrainingOptions = TrainingOptions(),
) -> Iterator[Epoch]:
    """Train `network` in place on `data.train`; yields after every epoch, and leaves the network in eval mode.

    SGD with Nesterov momentum; the learning rate warms up linearly and falls along a cosine to 0 at the last step,
    however short the training. Part epochs are allowed: 0.5 sees half of the images.

    Args:
        network: on `compute.device`.
        data: what to learn from.
        recipe: epochs, batch size, learning rate and so on.
        compute: device and precision.
        options: seed, teacher, deadline, checkpoint, what is done after every step.

    Raises:
        TrainingError: the loss is not finite, or the deadline has passed.
    """
    loop = _Loop(network, data, recipe, compute, options)
    steps, checkpoint = loop.steps, options.checkpoint
    done = _restore(loop, checkpoint)
    loop.after_steps(steps.first_of(done))
    for index in range(done, steps.num_epochs):
        started = time.monotonic()
        loss = loop.run_epoch(index)
        if checkpoint is not None:
            _save(loop, index + 1, checkpoint)
        lr = learning_rate(recipe, steps, steps.first_of(index + 1))
        yield Epoch(index + 1, steps.num_epochs, loss, lr, time.monotonic() - started)
    loop.finish()


def steps_of(recipe: TrainingConfig, data: Data) -> Steps:
    """The steps of a training by `recipe`."""
    return Steps(len(data.train), recipe.batch_size, recipe.epochs)


def learning_rate(recipe: TrainingConfig, steps: Steps, step: int) -> float:
    """Learning rate of `step`, counted from 0. Warm-up takes half of the steps at most: the rate must fall again."""
    warmup = min(round(recipe.warmup_epochs * steps.per_epoch), steps.number // 2)
    return recipe.lr * warmup_cosine(step, steps.number, warmup)


class _Loop:
    """One training's state: network and optimiser."""

    def __init__(
        self, network: nn.Module, data: Data, recipe: TrainingConfig, compute: Compute, options: TrainingOptions
    ):
        self.network = network.to(memory_format=torch.channels_last)
        self.data, self.recipe, self.compute, self.options = data, recipe, compute, options
        self.steps = steps_of(recipe, data)
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
            fused=True,  # one pass over a parameter, on the CPU too
        )
        self.average: AveragedModel | None = None
        if options.averaging is not None:
            mean = get_ema_multi_avg_fn(options.averaging)
            self.average = AveragedModel(network, multi_avg_fn=mean, use_buffers=True)

    def run_epoch(self, index: int) -> float:
        """Train on the images of epoch `index`, counted from 0; returns the mean loss."""
        self.network.train()
        first, last = self.steps.first_of(index), self.steps.first_of(index + 1)
        total = torch.zeros((), device=self.compute.device)
        with fused(self.network, self.compute), seeded(derive_seed(self.options.seed, "network", index)):
            for step, plan in self.steps.plans(self.data, self.options.seed, index):
                self._set_lr(learning_rate(self.recipe, self.steps, step))
                total += self._run(*plan)
                if self.average is not None:
                    self.average.update_parameters(self.network)
                self.after_steps(step + 1)
                if step % BATCHES_PER_CHECK == 0 or step == last - 1:
                    self._check(total)
        return float(total) / max(1, last - first)

    def after_steps(self, done: int) -> None:
        """What the options want when `done` steps are done; on CUDA behind the step's graph, and no part of it."""
        if self.options.after_step is not None:
            self.options.after_step(done / self.steps.number if self.steps.number else 1.0)

    def finish(self) -> None:
        """Leave the trained network in eval mode."""
        if self.average is not None and self.steps.number:
            self.network.load_state_dict(self.average.module.state_dict())
            self.after_steps(self.steps.number)
        self.network.eval()

    @property
    def state(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint keeps, by name."""
        averages = {} if self.average is None else {"average": self.average}
        return {"network": self.network, "optimizer": self.optimizer, **averages}

    @cached_property
    def _run(self) -> Callable[..., Tensor]:
        """A step; on CUDA a graph, which is captured on first use, as a checkpoint that is restored has new tensors."""
        if self.compute.device.type != "cuda":
            return self._step
        for parameter in self.network.parameters():  # as the first step would make them, but before the capture
            self.optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        momenta = [state["momentum_buffer"] for state in self.optimizer.state.values()]
        return GraphedStep(self._step, [*full_state(self.network).values(), *momenta])

    def _set_lr(self, lr: float) -> None:
        """Give the optimiser its learning rate, on CUDA in a tensor: a graph would keep a number."""
        for group in self.optimizer.param_groups:
            if self.compute.device.type != "cuda":
                group["lr"] = lr
            elif isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = torch.full((), lr, dtype=torch.float32, device=self.compute.device)

    def _step(self, *plan: Tensor) -> Tensor:
        images, labels = self.data.training_batch(Plan(*plan))
        with self.compute.autocast():
            logits = self.network(images).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
            if self.options.teacher is not None:
                loss = self.options.teacher.loss(logits, images, loss, Plan(*plan))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _check(self, total: Tensor) -> None:
        if not math.isfinite(float(total)):
            raise TrainingError(LOSS_NOT_FINITE)
        check_deadline(self.options.deadline)


def check_deadline(deadline: float | None) -> None:
    """Raise TrainingError where `time.monotonic()` has passed `deadline`."""
    if deadline is not None and time.monotonic() > deadline:
        raise TrainingError(TIME_IS_UP)


def _restore(loop: _Loop, checkpoint: Path | None) -> int:
    """Load the state of an interrupted training; returns the number of epochs that are done.

    What cannot be continued is left aside, with a notice: a training can always begin anew.
    """
    if checkpoint is None or not checkpoint.exists():
        return 0
    fresh = {name: deepcopy(_state_of(part)) for name, part in loop.state.items()}
    try:
        state = torch.load(checkpoint, map_location=loop.compute.device, weights_only=True)
        for name, part in loop.state.items():
            _load(part, state[name])
        _check_momenta(loop.optimizer)
        epochs_done = int(state["epochs_done"])
        if not 0 < epochs_done <= loop.steps.num_epochs:
            raise ValueError(f"{epochs_done} of {loop.steps.num_epochs} epochs")
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        for name, part in loop.state.items():
            _load(part, fresh[name])
        loop.options.notice(f"{checkpoint}: cannot be continued ({reason_of(error)}); this training begins anew")
        return 0
    return epochs_done


def _state_of(part: nn.Module | torch.optim.Optimizer) -> dict[str, Any]:
    """With the buffers that a network's state leaves out, as these may change in training too."""
    return full_state(part) if isinstance(part, nn.Module) else part.state_dict()


def _load(part: nn.Module | torch.optim.Optimizer, state: dict[str, Any]) -> None:
    if isinstance(part, nn.Module):
        load_state(part, state)
    else:
        part.load_state_dict(state)


def _check_momenta(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape != parameter.shape:
                raise ValueError(f"{name} of shape {tuple(value.shape)} for a parameter of {tuple(parameter.shape)}")


def _save(loop: _Loop, epochs_done: int, checkpoint: Path) -> None:
    state = {**{name: _state_of(part) for name, part in loop.state.items()}, "epochs_done": epochs_done}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(checkpoint, buffer.getvalue())
