"""Full training of networks of the front, on the same workers as the search."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evoprune.base import preprocessing
from evoprune.checkpoints import save_model
from evoprune.compute import Compute
from evoprune.config import CountSelection, Experiment
from evoprune.data import Arrays, contiguous, place_data, split_data, to_split
from evoprune.datasets import Part, load_raw_data
from evoprune.errors import UserError
from evoprune.files import suggest
from evoprune.front import knees, spread
from evoprune.networks import build_network, network_spec
from evoprune.objectives import to_losses
from evoprune.progress import progress, say
from evoprune.records import Row, front_rows, read_rows
from evoprune.results import trained_models, training_settings, write_front
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.seeds import derive_seed
from evoprune.setting import Setting
from evoprune.space import SearchSpace
from evoprune.surgery import slim_network
from evoprune.training import Epoch, Teacher, accuracy, recalibrate, train
from evoprune.worker_shape import worker_compute
from evoprune.workers import Job, JobFactory, Lost, describe_workers, open_workers


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


def retrain(setting: Setting, folder: RunFolder) -> list[Row]:
    """Train the selected networks of the front that are not trained yet; returns the rows of `output.csv`."""
    experiment, space = setting.experiment, setting.space
    rows = read_rows(folder.reports)
    front = front_rows(rows, experiment.search.objectives)
    # The longest training first: no worker is left alone with it at the end.
    selected = sorted(select_rows(front, experiment), key=lambda row: -row["flops"])
    tasks = [task for row in selected for task in _open_tasks(folder, row, experiment)]
    if tasks:
        with timed_stage(folder, "retrain"):
            _train_all(tasks, setting, folder)
    return write_front(folder, rows, experiment, space)


def select_rows(front: Sequence[Row], experiment: Experiment) -> list[Row]:
    """The rows of the front that `retrain.select` names.

    Raises:
        UserError: a key that is not on the front.
    """
    select = experiment.retrain.select
    losses = to_losses(front, experiment.search.objectives)
    if select == "all":
        return list(front)
    if select == "knees":
        return [front[index] for index in knees(losses)]
    if isinstance(select, CountSelection):
        return [front[index] for index in spread(losses, select.count)]
    by_key = {row["key"]: row for row in front}
    for key in select:
        if key not in by_key:
            raise UserError(f"retrain.select: {key} is not on the front; {suggest(key, by_key)}")
    return [by_key[key] for key in select]


def _open_tasks(folder: RunFolder, row: Row, experiment: Experiment) -> list[Task]:
    done = {model["seed"] for model in trained_models(folder, row["key"], experiment)}
    settings = json.dumps(training_settings(experiment), sort_keys=True)
    name = f"training-{derive_seed(settings):016x}.ckpt"  # a checkpoint of other settings is not continued
    return [
        Task(row["key"], row["code"], seed, str((folder.model(row["key"], seed) / name).absolute()))
        for seed in range(experiment.retrain.seeds)
        if seed not in done
    ]


def _train_all(tasks: Sequence[Task], setting: Setting, folder: RunFolder) -> None:
    experiment = setting.experiment
    total = len(tasks) * experiment.retrain.epochs
    epochs_done = 0.0
    with (
        progress("full training, epochs", total) as meter,
        open_workers(experiment.workers, _job_factory(setting)) as workers,
    ):
        folder.note(workers=describe_workers(workers, experiment))
        for event in workers.map(tasks):
            task = tasks[event.index]
            match event.value:
                case Epoch():
                    epochs_done += min(1.0, experiment.retrain.epochs)
                    meter.update(min(epochs_done, total))
                case Trained() as trained:
                    _save(trained, task, setting, folder)
                    say(f"{task.key} seed {task.seed}: test accuracy {trained.test_accuracy:.2f} %")
                case Lost(reason) | TrainingFailed(reason):
                    say(f"{task.key} seed {task.seed}: failed: {reason}")


def _job_factory(setting: Setting) -> JobFactory:
    raw, config = load_raw_data(setting.experiment.data), setting.experiment.data
    arrays, test = split_data(raw, config), contiguous(raw.test)
    return partial(retrain_job, setting.experiment, setting.space, setting.base.network, arrays, test)


@dataclass(frozen=True)
class TrainingFailed:
    """Stands for the result of a training that did not come to its end."""

    reason: str


def _save(trained: Trained, task: Task, setting: Setting, folder: RunFolder) -> None:
    space = setting.space
    code = space.parse_code(task.code)
    network = build_network(space, code)
    network.load_state_dict(trained.state)
    save_model(
        network,
        network_spec(space, code),
        folder.model(task.key, task.seed),
        key=task.key,
        code=task.code,
        search_space=space.name,
        seed=task.seed,
        training=training_settings(setting.experiment),
        validation_accuracy=trained.validation_accuracy,
        test_accuracy=trained.test_accuracy,
        preprocessing=trained.preprocessing,
    )
    for checkpoint in Path(task.checkpoint).parent.glob("training-*.ckpt"):
        checkpoint.unlink()


def retrain_job(experiment: Experiment, space: SearchSpace, parent: nn.Module, arrays: Arrays, test_part: Part) -> Job:
    """Build, in a worker, what trains one network after the other and tests each once, at its last epoch."""
    config = experiment.retrain
    compute = worker_compute(experiment)
    data, test = place_data(arrays, compute.device), to_split(test_part, compute.device)
    network = parent.to(compute.device).eval()
    teacher = Teacher(network, config.distillation) if config.distillation is not None else None
    exact = Compute(compute.device, bf16=False)

    def job(task: Task) -> Iterator[Any]:
        seed = derive_seed(experiment.seed, "retrain", task.key, task.seed)
        slim = _start(task, seed).to(compute.device)
        try:
            yield from train(slim, data, config, compute, seed, teacher, checkpoint=Path(task.checkpoint))
            validation, tested = (accuracy(slim, data, split, exact) for split in (data.validation, test))
        except Exception as error:  # one network that cannot be trained must not cost the others
            yield TrainingFailed(f"{type(error).__name__}: {error}")
            return
        state = {name: value.detach().cpu().contiguous() for name, value in slim.state_dict().items()}
        yield Trained(state, validation, tested, preprocessing(data))

    def _start(task: Task, seed: int) -> nn.Module:
        code = space.parse_code(task.code)
        if config.start == "inherited":
            slim = slim_network(space, network, code)
            recalibrate(slim, data, experiment.evaluation.recalibration_images, compute, experiment.seed)
            return slim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network(space, code)

    return job
