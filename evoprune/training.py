"""The training loop, batch norm recalibration, accuracy, distillation."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.compute import Compute
from evoprune.config import DistillationConfig, TrainingConfig
from evoprune.data import Data, Split, batches
from evoprune.layers import constant_weights
from evoprune.schedule import Schedule
from evoprune.seeds import derive_seed

EVALUATION_BATCH = 500
_EVALUATION_BATCH_CPU = 125  # feature maps that stay in a core's cache: up to a third faster than 500
BATCHES_PER_CHECK = 20
LOSS_NOT_FINITE = "the training loss is not finite; lower the learning rate"
OUTPUT_NOT_FINITE = "the network's output is not finite"


class TrainingError(RuntimeError):
    """A training that did not come to its end: the loss is not finite, or the time limit has passed."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training printed: number from 1, mean loss, learning rate at its end, seconds."""

    number: int
    num_epochs: int
    loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode whose softened logits are learnt as well (Hinton et al. 2015)."""

    network: nn.Module
    config: DistillationConfig

    def loss(self, logits: Tensor, images: Tensor, supervised: Tensor) -> Tensor:
        """Mix of the supervised loss and the divergence from the teacher's softened distribution."""
        with torch.no_grad():
            target = self.network(images).float()
        t, weight = self.config.temperature, self.config.weight
        divergence = F.kl_div(
            F.log_softmax(logits / t, dim=1),
            F.log_softmax(target / t, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return (1 - weight) * supervised + weight * t * t * divergence


def train(
    network: nn.Module,
    data: Data,
    recipe: TrainingConfig,
    compute: Compute,
    seed: int,
    teacher: Teacher | None = None,
    deadline: float | None = None,
    checkpoint: Path | None = None,
) -> Iterator[Epoch]:
    """Train `network` in place on `data.train`; yields after every epoch, and leaves the network in eval mode.

    SGD with Nesterov momentum; the learning rate warms up linearly and falls along a cosine to 0 at the last step,
    however short the training. Part epochs are allowed: 0.5 sees half of the images.

    Args:
        network: on `compute.device`.
        data: what to learn from.
        recipe: epochs, batch size, learning rate and so on.
        compute: device and precision.
        seed: of the order of images and their augmentation; the same seed and arithmetic give the same weights.
        teacher: distil from it as well.
        deadline: `time.monotonic()` after which training stops with an error.
        checkpoint: file that keeps the state of a long training; one that is there is continued.

    Raises:
        TrainingError: the loss is not finite, or the deadline has passed.
    """
    loop = _Loop(network, data, recipe, compute, seed, teacher, deadline)
    schedule = loop.schedule
    first = _restore(loop, checkpoint)
    for index in range(first, schedule.num_epochs):
        started = time.monotonic()
        loss = loop.run_epoch(index)
        if checkpoint is not None:
            _save(loop, index + 1, checkpoint)
        lr = schedule.lr_at(schedule.step_of(index + 1))
        yield Epoch(index + 1, schedule.num_epochs, loss, lr, time.monotonic() - started)
    network.eval()


class _Loop:
    """One training's state: network, optimiser, and where in the schedule it stands."""

    def __init__(
        self,
        network: nn.Module,
        data: Data,
        recipe: TrainingConfig,
        compute: Compute,
        seed: int,
        teacher: Teacher | None,
        deadline: float | None,
    ):
        self.network = network.to(memory_format=torch.channels_last)
        self.data, self.recipe, self.compute, self.seed = data, recipe, compute, seed
        self.teacher, self.deadline = teacher, deadline
        self.schedule = Schedule(recipe, len(data.train))
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
            fused=True,  # one pass over a parameter, on the CPU too
        )

    def run_epoch(self, index: int) -> float:
        """Train on the images of epoch `index`, counted from 0; returns the mean loss."""
        self.network.train()
        first, last = self.schedule.step_of(index), self.schedule.step_of(index + 1)
        total = torch.zeros((), device=self.compute.device)
        for step, images, labels in self.schedule.batches(self.data, self.seed, index):
            total += self._step(step, images, labels)
            if step % BATCHES_PER_CHECK == 0 or step == last - 1:
                self._check(total)
        return float(total) / max(1, last - first)

    def _step(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        with self.compute.autocast():
            logits = self.network(images).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
            if self.teacher is not None:
                loss = self.teacher.loss(logits, images, loss)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _check(self, total: Tensor) -> None:
        if not math.isfinite(float(total)):
            raise TrainingError(LOSS_NOT_FINITE)
        check_deadline(self.deadline)


def check_deadline(deadline: float | None) -> None:
    """Raise TrainingError where `time.monotonic()` has passed `deadline`."""
    if deadline is not None and time.monotonic() > deadline:
        raise TrainingError("the time limit has passed")


def _restore(loop: _Loop, checkpoint: Path | None) -> int:
    """Load the state of an interrupted training; returns the number of epochs that are done."""
    if checkpoint is None or not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, map_location=loop.compute.device, weights_only=True)
    loop.network.load_state_dict(state["network"])
    loop.optimizer.load_state_dict(state["optimizer"])
    return int(state["epochs_done"])


def _save(loop: _Loop, epochs_done: int, checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    part = checkpoint.with_suffix(".part")
    state = {
        "network": loop.network.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "epochs_done": epochs_done,
    }
    torch.save(state, part)
    part.replace(checkpoint)


@torch.no_grad()
def recalibrate(network: nn.Module, data: Data, num_images: int, compute: Compute, seed: int = 0) -> None:
    """Measure the running statistics of every batch norm again, on augmented training images.

    A slim network's statistics are those of its parent, whose channels it lacks; this is what makes inherited weights
    comparable (EagleEye, Li et al. 2020). The images are augmented because the weights were trained on such: ResNet-20
    on CIFAR-10 loses 2 points when its own statistics are measured on plain ones. The network is left in eval mode.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
    network.train()
    for images in _sample(data, num_images, seed):
        with compute.autocast():
            network(data.normalise(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def measure_neutral_norms(network: nn.Module, data: Data, num_images: int, compute: Compute) -> int:
    """Give batch norms whose statistics were never measured real ones, without changing what the network computes.

    A norm with running mean 0 and variance 1 stands in for 'no norm' (imported option A shortcuts). Recalibrating or
    training it would normalise what was never normalised. So its statistics are measured, and its scale and shift take
    the inverse. Returns how many norms there were; the network is left in eval mode.
    """
    neutral = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and _is_neutral(m)]
    if not neutral:
        return 0
    network.eval()
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in neutral}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().cpu()
        count = torch.full((x.shape[1],), float(x.numel() // x.shape[1]), dtype=torch.float64)
        sums[norm] += torch.stack((count, x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))))  # type: ignore[index]

    hooks = [norm.register_forward_pre_hook(add) for norm in neutral]
    for images in _sample(data, num_images, seed=0):
        with compute.autocast():
            network(data.normalise(images))
    for norm, hook in zip(neutral, hooks, strict=True):
        hook.remove()
        count, total, squares = sums[norm]
        _absorb(norm, total / count, squares / count - (total / count) ** 2)
    return len(neutral)


def _is_neutral(norm: nn.BatchNorm2d) -> bool:
    mean, var = norm.running_mean, norm.running_var
    return mean is not None and var is not None and bool((mean == 0).all() and (var == 1).all())


def _absorb(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """Change the statistics to `mean` and `var` and the scale and shift so that the function stays."""
    assert norm.running_mean is not None and norm.running_var is not None
    old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    old_shift = norm.bias - old_scale * norm.running_mean
    mean, var = mean.to(norm.weight), var.clamp(min=0).to(norm.weight)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_(old_scale * (var + norm.eps).sqrt())
    norm.bias.copy_(old_shift + old_scale * mean)


def _sample(data: Data, num_images: int, seed: int) -> Iterator[Tensor]:
    """Batches of nearly equal size of augmented training images, as uint8, drawn without replacement."""
    rng = torch.Generator().manual_seed(derive_seed(seed, "sample"))
    chosen = torch.randperm(len(data.train), generator=rng)[:num_images].to(data.train.images.device)
    for indices in chosen.chunk(math.ceil(len(chosen) / EVALUATION_BATCH)):
        yield data.augment(data.train.images[indices], rng)


@torch.no_grad()
def accuracy(network: nn.Module, data: Data, split: Split, compute: Compute) -> float:
    """Top-1 accuracy of `network` on `split` in percent, in eval mode."""
    network.eval()
    correct = 0
    batch_size = _EVALUATION_BATCH_CPU if compute.device.type == "cpu" else EVALUATION_BATCH
    with constant_weights():
        for indices in batches(len(split), batch_size):
            chosen = indices.to(compute.device)
            with compute.autocast():
                logits = network(data.normalise(split.images[chosen]))
            if not bool(torch.isfinite(logits).all()):
                raise TrainingError(OUTPUT_NOT_FINITE)
            correct += int((logits.argmax(1) == split.labels[chosen]).sum())
    return round(100 * correct / len(split), 4)
