"""One slim network without a search: score, cut, recalibrate, fine-tune; in one step or several."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from evoprune.base import preprocessing
from evoprune.checkpoints import load_model, save_model
from evoprune.compute import Compute, make_compute
from evoprune.config import Experiment, ImportanceName
from evoprune.data import Data, Split, make_data, to_split
from evoprune.datasets import load_raw_data
from evoprune.errors import UserError
from evoprune.importance.criteria import layer_importance
from evoprune.importance.segments import Scores, segment_scores
from evoprune.networks import network_spec
from evoprune.progress import progress, say
from evoprune.prune_summary import Pruning, finished_steps, step_folder, write_summary
from evoprune.pruning_target import CutStep, Target
from evoprune.results import training_settings
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.seeds import derive_seed
from evoprune.setting import Setting
from evoprune.space import Code, SearchSpace
from evoprune.surgery import slim_network
from evoprune.training import Teacher, TrainingError, accuracy, recalibrate, train


def make_pruning(experiment: Experiment, method: ImportanceName, target: Target, steps: int) -> Pruning:
    """What `prune` is to do.

    Raises:
        UserError: no step at all, or a recipe that would forget the weights.
    """
    if steps < 1:
        raise UserError(f"--steps is a whole number of at least 1; got {steps}")
    if experiment.retrain.start != "inherited":
        raise UserError(
            f"retrain.from: got {experiment.retrain.start}, but prune trains inherited weights on; "
            "add --set retrain.from=inherited"
        )
    return Pruning(method, target.name, steps, training_settings(experiment))


def prune(setting: Setting, folder: RunFolder, pruning: Pruning, cut: CutStep) -> str:
    """Do the steps that are not done yet; returns the table of all.

    A step scores the network of the step before, cuts more of it, measures batch norm again and trains it as `retrain`
    says. What is cut stays cut.

    Args:
        setting: experiment, search space, parent network, and the scores of `pruning.method`.
        folder: of the run.
        pruning: what to do.
        cut: chooses the channels of each step.
    """
    first = len(finished_steps(folder, pruning)) + 1
    if first <= pruning.steps:
        with timed_stage(folder, f"prune.{pruning.name}"):
            work = _prepare(setting, folder, pruning)
            for step in range(first, pruning.steps + 1):
                _do_step(work, step, cut)
    return write_summary(folder, pruning, setting.space, setting.base.info)


@dataclass(frozen=True)
class _Work:
    setting: Setting
    folder: RunFolder
    pruning: Pruning
    data: Data
    test: Split
    compute: Compute


@dataclass(frozen=True)
class _Slim:
    """A network between two steps: its code, its own search space, its validation accuracy in percent."""

    code: Code
    space: SearchSpace
    network: nn.Module
    accuracy: float


def _prepare(setting: Setting, folder: RunFolder, pruning: Pruning) -> _Work:
    experiment = setting.experiment
    compute = make_compute(experiment.workers.device, experiment.precision)
    raw = load_raw_data(experiment.data)
    data = make_data(raw, experiment.data, compute.device)
    setting.base.network.to(compute.device)
    return _Work(setting, folder, pruning, data, to_split(raw.test, compute.device), compute)


def _do_step(work: _Work, step: int, cut: CutStep) -> None:
    before = _before(work, step)
    code = cut(_scores(work, before), step / work.pruning.steps) & before.code
    network = slim_network(before.space, before.network, code[before.code == 1])
    exact, validation = Compute(work.compute.device, bf16=False), work.data.validation
    experiment = work.setting.experiment
    measured = {"accuracy_before": before.accuracy, "accuracy_cut": accuracy(network, work.data, validation, exact)}
    recalibrate(network, work.data, experiment.evaluation.recalibration_images, work.compute, experiment.seed)
    measured["accuracy_recalibrated"] = accuracy(network, work.data, validation, exact)
    _fine_tune(work, network, step, code)
    measured["accuracy"] = accuracy(network, work.data, validation, exact)
    if step == work.pruning.steps:
        measured["test_accuracy"] = accuracy(network, work.data, work.test, exact)
    _save(work, network, step, code, measured)
    say(f"step {step} of {work.pruning.steps}: validation accuracy {measured['accuracy']:.2f} %")


def _before(work: _Work, step: int) -> _Slim:
    """What a step begins with: always as it lies on the disk, so that going on later changes nothing."""
    space, base = work.setting.space, work.setting.base
    if step == 1:
        return _Slim(space.full_code(), space, base.network, base.info["validation_accuracy"])
    description = finished_steps(work.folder, work.pruning)[step - 2]
    network = load_model(step_folder(work.folder, work.pruning, step - 1)).to(work.compute.device)
    code = space.parse_code(description["code"])
    return _Slim(code, space.slim(code), network, description["accuracy"])


def _scores(work: _Work, before: _Slim) -> Scores:
    """Importance of every bit of the original code, shape (length,); that of a channel that is cut is -inf."""
    setting, method = work.setting, work.pruning.method
    if before.space is setting.space:
        return setting.scores[method]
    found = layer_importance(method, setting.experiment, before.space, before.network, work.data, work.compute)
    scores = np.full(setting.space.length, -np.inf)
    scores[before.code == 1] = segment_scores(before.space, found.scores)
    return scores


def _fine_tune(work: _Work, network: nn.Module, step: int, code: Code) -> None:
    experiment, config = work.setting.experiment, work.setting.experiment.retrain
    key = work.setting.space.key(code)
    teacher = Teacher(work.setting.base.network.eval(), config.distillation) if config.distillation else None
    seed = derive_seed(experiment.seed, "prune", work.pruning.name, step)
    facts = json.dumps([work.pruning.facts(step), key], sort_keys=True)
    # A checkpoint of other settings, or of a network cut elsewhere, is not continued.
    checkpoint = step_folder(work.folder, work.pruning, step) / f"training-{derive_seed(facts):016x}.ckpt"
    with progress(f"step {step} of {work.pruning.steps}, fine-tuning, epochs", config.epochs) as meter:
        try:
            for epoch in train(network, work.data, config, work.compute, seed, teacher, checkpoint=checkpoint):
                meter.update(min(epoch.number, config.epochs))
        except TrainingError as error:
            raise UserError(f"prune, step {step}: {error} (retrain.lr is {config.lr:g})") from None


def _save(work: _Work, network: nn.Module, step: int, code: Code, measured: dict[str, float]) -> None:
    space, folder = work.setting.space, step_folder(work.folder, work.pruning, step)
    facts: dict[str, Any] = {
        "key": space.key(code),
        "code": space.format_code(code),
        "search_space": space.name,
        **work.pruning.facts(step),
        **measured,
        "preprocessing": preprocessing(work.data),
    }
    save_model(network, network_spec(space, code), folder, **facts)
    for checkpoint in folder.glob("training-*.ckpt"):
        checkpoint.unlink()
