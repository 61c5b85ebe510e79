"""Full training of networks of the front, on the same workers as the search."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from evoprune.common.errors import IncompleteError
from evoprune.common.objectives import Row
from evoprune.common.progress import say
from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment
from evoprune.evaluation.training_job import Notice, Task, Trained, TrainingFailed, training_job
from evoprune.evaluation.worker import describe_workers
from evoprune.networks.build import build_network, network_spec
from evoprune.networks.checkpoints import load_state, save_model
from evoprune.report.output import write_front
from evoprune.runs.folder import RunFolder, timed_stage
from evoprune.runs.live_progress import stage_progress
from evoprune.runs.models import other_settings, trained_models, training_settings
from evoprune.stages.context import Context
from evoprune.stages.measure_candidates import OpenWorkers
from evoprune.stages.measured_rows import measured_rows
from evoprune.stages.probe import Probe
from evoprune.stages.select_networks import num_selected, selected_rows
from evoprune.training.distillation import make_teacher
from evoprune.training.loop import Epoch, TrainingOptions
from evoprune.training.tensorboard_log import open_log
from evoprune.workers.dispatch import Broken, Lost, dispatch
from evoprune.workers.jobs import JobFactory
from evoprune.workers.pool import open_workers


def retrain(context: Context, open_workers: OpenWorkers = open_workers) -> list[Row]:
    """Train the selected networks of the front that are not trained yet; returns the rows of `output.csv`.

    Raises:
        IncompleteError: when all others are trained and `output.csv` is written, and some could not be.
    """
    experiment, folder = context.experiment, context.folder
    rows = measured_rows(context)
    # The longest training first: no worker is left alone with it at the end.
    selected = sorted(selected_rows(context, rows), key=lambda row: -row["flops"])
    tasks = [task for row in selected for task in _open_tasks(folder, row, experiment)]
    failures: list[str] = []
    for row in selected:
        if other := other_settings(folder.model(row["key"]), training_settings(experiment)):
            say(f"{row['key']}: is trained again, and its model replaced then: {other}")
    if tasks:
        with timed_stage(folder, "retrain"), _folders([Path(task.checkpoint).parent for task in tasks]):
            failures = _train_all(tasks, context, open_workers)
        folder.note(failed_trainings=failures)
    written = write_front(folder, rows, experiment, context.space)
    if failures:
        raise IncompleteError(
            f"{len(failures)} of {len(tasks)} trainings did not come to their end: {'; '.join(failures)}; the same "
            "command tries them again"
        )
    return written


def estimate_s(probe: Probe) -> float:
    """Seconds of full training of what `retrain.select` names."""
    config = probe.context.experiment.retrain
    networks = probe.side_by_side(num_selected(probe.context.experiment) * config.seeds)
    few = config.model_copy(update={"epochs": probe.few_epochs(config)})
    options = TrainingOptions(
        teacher=make_teacher(probe.base, probe.data, few, probe.compute), averaging=config.averaging
    )
    return networks * config.epochs * probe.epoch_s(probe.slim, config, probe.compute, options)


@contextmanager
def _folders(paths: Sequence[Path]) -> Iterator[None]:
    """Make folders, as a worker that does not see that of its checkpoint keeps none; what stays empty is removed."""
    for path in paths:
        path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in paths:
            with suppress(OSError):  # it holds a model, or a checkpoint
                os.removedirs(path)


def _open_tasks(folder: RunFolder, row: Row, experiment: Experiment) -> list[Task]:
    done = {model["seed"] for model in trained_models(folder, row["key"], experiment)}
    settings = json.dumps(training_settings(experiment), sort_keys=True)
    name = f"training-{derive_seed(settings):016x}.ckpt"  # a checkpoint of other settings is not continued
    return [
        Task(row["key"], row["code"], seed, str((folder.model(row["key"], seed) / name).absolute()))
        for seed in range(experiment.retrain.seeds)
        if seed not in done
    ]


def _train_all(tasks: Sequence[Task], context: Context, open_workers: OpenWorkers) -> list[str]:
    """Train and save; returns what is to be said of each training that did not come to its end."""
    config, epochs = context.experiment.workers, context.experiment.retrain.epochs
    reached, failures = [0.0] * len(tasks), []
    with (
        open_log(context.folder.path, context.experiment.report.tensorboard) as log,
        stage_progress(context.folder, "full training, epochs", len(tasks) * epochs) as meter,
        open_workers(config, _job_factory(context)) as workers,
    ):
        context.folder.note(workers=describe_workers(workers, context.experiment))
        for event in dispatch(workers, tasks, config.retries):
            task = tasks[event.index]
            match event.value:
                case Epoch() as epoch:
                    log.epoch(_title(task), epoch)
                    reached[event.index] = min(epoch.number, epochs)  # one that is tried again begins lower
                    meter.update(sum(reached))
                case Notice(text):
                    say(text)
                case Trained() as trained:
                    _save(trained, task, context)
                    log.accuracies(_title(task), trained.validation_accuracy, trained.test_accuracy)
                    say(f"{task.key} seed {task.seed}: test accuracy {trained.test_accuracy:.2f} %")
                case Lost(reason) | Broken(reason) | TrainingFailed(reason):
                    failures.append(f"{task.key} seed {task.seed}: {reason}")
                    say(f"{task.key} seed {task.seed}: failed: {reason}")
    return failures


def _title(task: Task) -> str:
    """What TensorBoard calls a training."""
    return f"{task.key}-seed-{task.seed}"


def _job_factory(context: Context) -> JobFactory:
    base, dataset = context.base.network, context.dataset
    return partial(training_job, context.experiment, context.space, base, dataset, context.moments)


def _save(trained: Trained, task: Task, context: Context) -> None:
    space = context.space
    code = space.parse_code(task.code)
    network = build_network(space, code)
    load_state(network, trained.state)
    save_model(
        network,
        network_spec(space, code),
        context.folder.model(task.key, task.seed),
        key=task.key,
        code=task.code,
        search_space=space.name,
        seed=task.seed,
        training=training_settings(context.experiment),
        validation_accuracy=trained.validation_accuracy,
        test_accuracy=trained.test_accuracy,
        preprocessing=trained.preprocessing,
        classes=context.dataset.arrays.classes,
    )
    for checkpoint in Path(task.checkpoint).parent.glob("training-*.ckpt"):
        checkpoint.unlink()
