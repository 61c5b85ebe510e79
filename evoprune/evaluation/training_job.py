"""The job of full training: one network after the other."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment
from evoprune.data.dataset import Dataset
from evoprune.data.tensors import place_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.evaluation.worker import worker_compute
from evoprune.networks.build import build_network
from evoprune.networks.checkpoints import full_state
from evoprune.networks.draws import generators, seeded
from evoprune.pruning.channels import slim_network
from evoprune.pruning.moments import Moments
from evoprune.pruning.widening import Widened, widen
from evoprune.space.space import SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.distillation import make_teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.workers.jobs import Job


@dataclass(frozen=True)
class Task:
    """One network to train fully: its key, its code as text, which of the seeds, where its checkpoint lies.

    A worker keeps a checkpoint where it finds the folder for it. One of a node that does not see the run's disk finds
    none: what it left there nobody would remove, and a training of another run might go on from it.
    """

    key: str
    code: str
    seed: int
    checkpoint: str


@dataclass(frozen=True)
class Trained:
    """A fully trained network: its state on the CPU, accuracies in percent at the last epoch, and what its images need:
    `image_size` in pixels, and `mean` and `std` by channel, of pixels in [0, 1].
    """

    state: dict[str, Tensor]
    validation_accuracy: float
    test_accuracy: float
    preprocessing: dict[str, list[float]]


@dataclass(frozen=True)
class TrainingFailed:
    """Stands for the result of a training that did not come to its end."""

    reason: str


@dataclass(frozen=True)
class Notice:
    """What the user is to know of a training that goes on."""

    text: str


def training_job(
    experiment: Experiment, space: SearchSpace, base: nn.Module, dataset: Dataset, moments: Moments | None = None
) -> Job:
    """Build, in a worker, what trains one network after the other and tests each once, at its last epoch."""
    return _Trainer(experiment, space, base, dataset, moments)


class _Trainer:
    """What `training_job` builds."""

    def __init__(
        self, experiment: Experiment, space: SearchSpace, base: nn.Module, dataset: Dataset, moments: Moments | None
    ):
        self._experiment, self._space, self._moments = experiment, space, moments
        self._config, self._compute = experiment.retrain, worker_compute(experiment)
        device = self._compute.device
        self._data, self._test = place_data(dataset.arrays, device), to_split(dataset.test, device)
        self._base = base.to(device).eval()
        self._teacher = make_teacher(self._base, self._data, self._config, self._compute)

    def __call__(self, task: Task) -> Iterator[Any]:
        try:
            yield from self._train(task)
        except Exception as error:  # one network that cannot be trained must not cost the others
            yield TrainingFailed(f"{type(error).__name__}: {error}")

    def _train(self, task: Task) -> Iterator[Any]:
        seed = derive_seed(self._experiment.seed, "retrain", task.key, task.seed)
        slim = self._start(task, seed).to(self._compute.device)
        twin = self._widened(slim, task)
        notices: list[str] = []
        path = Path(task.checkpoint)
        checkpoint = path if os.access(path.parent, os.W_OK) else None
        options = TrainingOptions(
            seed, self._teacher, self._config.averaging, checkpoint=checkpoint, notice=notices.append
        )
        for epoch in train(twin.network if twin else slim, self._data, self._config, self._compute, options):
            yield from (Notice(notices.pop()) for _ in notices[:])
            yield epoch
        if twin:
            twin.give_back(slim)
        yield self._trained(slim.eval())

    def _start(self, task: Task, seed: int) -> nn.Module:
        code = self._space.parse_code(task.code)
        if self._config.start == "inherited":
            slim = slim_network(self._space, self._base, code, self._moments)
            images, seed = self._experiment.evaluation.recalibration_images, self._experiment.seed
            recalibrate(slim, self._data, images, self._compute, seed)
            return slim
        with generators, seeded(seed):
            return build_network(self._space, code)

    def _widened(self, slim: nn.Module, task: Task) -> Widened | None:
        """The twin that this device trains faster."""
        if self._compute.tile == 1:
            return None
        few = self._data.train.batch(torch.arange(min(16, len(self._data.train))))[0]
        code, images = self._space.parse_code(task.code), self._data.normalise(few)
        return widen(self._space, (self._base, slim), code, self._compute.tile, images)

    def _trained(self, slim: nn.Module) -> Trained:
        splits = self._data.validation, self._test
        validation, tested = (accuracy(slim, self._data, split, self._compute.exact) for split in splits)
        state = {name: value.cpu().contiguous() for name, value in full_state(slim).items()}
        return Trained(state, validation, tested, self._data.preprocessing)
