"""The job of full training: one network after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
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
from evoprune.networks.device import Compute
from evoprune.pruning.channels import slim_network
from evoprune.pruning.moments import Moments
from evoprune.space.space import SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.distillation import Teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.workers.jobs import Job

_global_rng = Lock()  # workers may be threads, and a network's first weights come from the one generator of all


@dataclass(frozen=True)
class Task:
    """One network to train fully: its key, its code as text, which of the seeds, where its checkpoint lies."""

    key: str
    code: str
    seed: int
    checkpoint: str


@dataclass(frozen=True)
class Trained:
    """A fully trained network: its state on the CPU, and accuracies in percent at the last epoch."""

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
    config, compute = experiment.retrain, worker_compute(experiment)
    data, test = place_data(dataset.arrays, compute.device), to_split(dataset.test, compute.device)
    base = base.to(compute.device).eval()
    teacher = Teacher(base, config.distillation) if config.distillation is not None else None
    exact = Compute(compute.device, bf16=False)

    def job(task: Task) -> Iterator[Any]:
        try:
            yield from _train(task)
        except Exception as error:  # one network that cannot be trained must not cost the others
            yield TrainingFailed(f"{type(error).__name__}: {error}")

    def _train(task: Task) -> Iterator[Any]:
        seed = derive_seed(experiment.seed, "retrain", task.key, task.seed)
        slim = _start(task, seed).to(compute.device)
        notices: list[str] = []
        kept = Path(task.checkpoint)
        options = TrainingOptions(seed, teacher, config.averaging, checkpoint=kept, notice=notices.append)
        for epoch in train(slim, data, config, compute, options):
            yield from (Notice(notices.pop()) for _ in notices[:])
            yield epoch
        validation, tested = (accuracy(slim, data, split, exact) for split in (data.validation, test))
        state = {name: value.detach().cpu().contiguous() for name, value in slim.state_dict().items()}
        yield Trained(state, validation, tested, data.preprocessing)

    def _start(task: Task, seed: int) -> nn.Module:
        code = space.parse_code(task.code)
        if config.start == "inherited":
            slim = slim_network(space, base, code, moments)
            recalibrate(slim, data, experiment.evaluation.recalibration_images, compute, experiment.seed)
            return slim
        with _global_rng, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network(space, code)

    return job
