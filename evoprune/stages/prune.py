"""One slim network without a search: score, prune, recalibrate, fine-tune; in one step or several."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.progress import progress, say
from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment, ImportanceName
from evoprune.data.dataset import Split
from evoprune.data.tensors import Data, place_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.build import build_network, network_spec
from evoprune.networks.checkpoints import load_weights, save_model
from evoprune.networks.device import Compute
from evoprune.pruning.channels import slim_network
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.pruning.importance.criteria import channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.moments import Moments, measure_moments, moment_inputs
from evoprune.pruning.targets import ChooseCode, Target
from evoprune.report.output import write_summary
from evoprune.runs.folder import timed_stage
from evoprune.runs.models import (
    Pruning,
    check_inherits,
    finished_steps,
    other_settings,
    step_folder,
    training_settings,
)
from evoprune.space.ranking import Scores, prune_on
from evoprune.space.space import Code, SearchSpace
from evoprune.stages.context import Context
from evoprune.training.batch_norm import recalibrate
from evoprune.training.distillation import make_teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.tensorboard_log import open_log


def make_pruning(experiment: Experiment, method: ImportanceName, target: Target, steps: int) -> Pruning:
    """What `prune` is to do.

    Raises:
        UserError: no step at all, or a recipe that would forget the weights.
    """
    if steps < 1:
        raise UserError(f"--steps is a whole number of at least 1; got {steps}")
    check_inherits(experiment, "prune")
    return Pruning(method, target.name, steps, training_settings(experiment))


def prune(context: Context, pruning: Pruning, choose: ChooseCode) -> str:
    """Do the steps that are not done yet; returns the table of all.

    A step scores the network of the step before, prunes more of it, measures batch norm again and trains it as
    `retrain` says. What is pruned stays so.

    Args:
        context: of the run; its folder has the base network and the scores of `pruning.method`.
        pruning: what to do.
        choose: chooses the channels of each step.
    """
    folder = context.folder
    first = len(finished_steps(folder, pruning)) + 1
    if first <= pruning.steps:
        if other := other_settings(step_folder(folder, pruning, first), pruning.training):
            say(f"step {first}: is made again, as is what follows it, and its model replaced then: {other}")
        with timed_stage(folder, f"prune.{pruning.name}"):
            work = _prepare(context, pruning)
            for step in range(first, pruning.steps + 1):
                _do_step(work, step, choose)
    return write_summary(folder, pruning, context.space, context.base.info)


@dataclass(frozen=True)
class _Work:
    context: Context
    pruning: Pruning
    data: Data
    test: Split
    compute: Compute


@dataclass(frozen=True)
class _Slim:
    """A network between two steps: its code, its own search space, validation accuracy in %, what its layers read."""

    code: Code
    space: SearchSpace
    network: nn.Module
    accuracy: float
    moments: Moments | None


def _prepare(context: Context, pruning: Pruning) -> _Work:
    compute = context.compute
    data, test = (place_data(context.dataset.arrays, compute.device), to_split(context.dataset.test, compute.device))
    context.base.network.to(compute.device)
    return _Work(context, pruning, data, test, compute)


def _do_step(work: _Work, step: int, choose: ChooseCode) -> None:
    before = _before(work, step)
    scores = _scores(work, before)
    code = prune_on(before.space, before.code, choose(scores, step / work.pruning.steps), scores)
    network = slim_network(before.space, before.network, code[before.code == 1], before.moments)
    exact, validation = work.compute.exact, work.data.validation
    experiment = work.context.experiment
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
    space, base = work.context.space, work.context.base
    if step == 1:
        return _Slim(space.full_code(), space, base.network, base.info["validation_accuracy"], work.context.moments)
    description = finished_steps(work.context.folder, work.pruning)[step - 2]
    code = space.parse_code(description["code"])
    network = load_weights(build_network(space, code), step_folder(work.context.folder, work.pruning, step - 1))
    network = network.eval().to(work.compute.device)
    own, moments = space.slim(code), None
    if work.context.experiment.inherit == "compensated":
        inputs = moment_inputs(work.data, work.context.experiment.seed)
        moments = measure_moments(own, network, inputs, work.compute)
    return _Slim(code, own, network, description["accuracy"], moments)


def _scores(work: _Work, before: _Slim) -> Scores:
    """Importance of every bit of the original code, shape (length,); that of a pruned channel is -inf."""
    context, method = work.context, work.pruning.method
    if before.space is context.space:
        return context.scores(method)
    options = ImportanceOptions(context.experiment.importance, work.compute, context.experiment.seed, before.moments)
    found = channel_importance(before.network, work.data, before.space, method, options)
    for warning in found.warnings:
        say(f"warning: {warning}")
    scores = np.full(context.space.length, -np.inf)
    scores[before.code == 1] = segment_scores(before.space, found)
    return scores


def _fine_tune(work: _Work, network: nn.Module, step: int, code: Code) -> None:
    experiment, config = work.context.experiment, work.context.experiment.retrain
    key = work.context.space.key(code)
    teacher = make_teacher(work.context.base.network, work.data, config, work.compute)
    seed = derive_seed(experiment.seed, "prune", work.pruning.name, step)
    facts = json.dumps([work.pruning.facts(step), key], sort_keys=True)
    # A checkpoint of other settings, or of a network pruned elsewhere, is not continued.
    checkpoint = step_folder(work.context.folder, work.pruning, step) / f"training-{derive_seed(facts):016x}.ckpt"
    options = TrainingOptions(seed, teacher, config.averaging, checkpoint=checkpoint, notice=say)
    run, wanted = work.context.folder.path, experiment.report.tensorboard
    title = f"step {step} of {work.pruning.steps}, fine-tuning, epochs"
    with progress(title, config.epochs) as meter, open_log(run, wanted) as log:
        try:
            for epoch in train(network, work.data, config, work.compute, options):
                meter.update(min(epoch.number, config.epochs))
                log.epoch(f"{work.pruning.name}-step-{step}", epoch)
        except TrainingError as error:
            raise UserError(f"prune, step {step}: {error} (retrain.lr is {config.lr:g})") from None


def _save(work: _Work, network: nn.Module, step: int, code: Code, measured: dict[str, float]) -> None:
    space, folder = work.context.space, step_folder(work.context.folder, work.pruning, step)
    facts: dict[str, Any] = {
        "key": space.key(code),
        "code": space.format_code(code),
        "search_space": space.name,
        **work.pruning.facts(step),
        **measured,
        "preprocessing": work.data.preprocessing,
        "classes": work.data.classes,
    }
    save_model(network, network_spec(space, code), folder, **facts)
    for checkpoint in folder.glob("training-*.ckpt"):
        checkpoint.unlink()
