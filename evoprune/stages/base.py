"""The base network: given weights, or trained on the training split, once for all runs of the same recipe."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.hardware import gpu_names
from evoprune.common.locks import lock_folder
from evoprune.common.model_files import DESCRIPTION_NAME, WEIGHTS_NAME
from evoprune.common.progress import say
from evoprune.common.seeds import derive_seed
from evoprune.config import TrainingConfig
from evoprune.data.tensors import Data, place_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.base import Base, load_base, save_base
from evoprune.networks.build import build_network
from evoprune.networks.checkpoints import load_weights
from evoprune.networks.device import Compute
from evoprune.networks.draws import seeded
from evoprune.runs.folder import RunFolder, timed_stage
from evoprune.runs.live_progress import stage_progress
from evoprune.stages.context import Context
from evoprune.stages.probe import Probe
from evoprune.stages.taken_files import note_taken, tell_changed
from evoprune.training.batch_norm import measure_neutral_norms
from evoprune.training.loop import Epoch, TrainingOptions, train
from evoprune.training.tensorboard_log import open_log


def provide_base(context: Context) -> None:
    """Leave the base network in the run's folder: the given one, or the trained one from the cache or made now."""
    folder, weights = context.folder, context.experiment.base_weights
    if not (folder.base / DESCRIPTION_NAME).exists():
        with timed_stage(folder, "base"):
            save_base(_made(context), context.space, folder.base)
        if weights is not None:
            note_taken(folder, context.experiment.base_weights_key, weights)
    elif weights is not None:
        tell_changed(folder, context.experiment.base_weights_key, weights, folder.base)
    try:
        info = context.base.info
    except UserError as error:
        raise UserError(f"{error}; delete {folder.base}, and the same command makes it again") from None
    _tell_another(folder)
    shape, images = asdict(context.source.shape), list(context.dataset.fingerprint)
    folder.note(base=info, data_shape=shape, images=images, hardware={"gpus": gpu_names()})
    for warning in info.get("warnings", []):
        say(f"warning: {warning}")


def _made(context: Context) -> Base:
    experiment, weights = context.experiment, context.experiment.base_weights
    try:
        return _cached(context) if weights is None else _given(context)
    except TrainingError as error:
        of = f"base: {error} (base.lr is {experiment.base.lr:g})"
        raise UserError(of if weights is None else f"{experiment.base_weights_key}: {weights}: {error}") from None


def _tell_another(folder: RunFolder) -> None:
    """Warn where the base network was deleted, as of a published run, and has become another one."""
    weights = folder.base / WEIGHTS_NAME
    try:
        folder.check(weights)
    except UserError:
        say(
            f"warning: {weights}: not the base network that this run was begun with: what is measured now does not "
            "compare with what it has; put that one back, or choose another --out"
        )
    else:
        folder.seal(weights)


def estimate_s(probe: Probe) -> float:
    """Seconds of the training of the base network; 0 where it is given or there."""
    context, config = probe.context, probe.context.experiment.base
    if context.experiment.base_weights is not None or (base_folder(context) / DESCRIPTION_NAME).is_file():
        return 0.0
    return config.epochs * probe.on_all_cores(lambda compute: probe.epoch_s(probe.base, config, compute))


def base_folder(context: Context) -> Path:
    """Where the base network of this recipe, data, seed and precision is kept."""
    experiment, space = context.experiment, context.space
    identity = {
        "space": space.identity(),
        "parameters": dict(space.parameters),
        "data": experiment.data.identity(),
        "images": list(context.dataset.fingerprint),
        "recipe": _recipe(context).model_dump(mode="json"),
        "seed": experiment.seed,
        "precision": experiment.precision,
    }
    digest = derive_seed(json.dumps(identity, sort_keys=True))
    return Path(experiment.base.cache) / f"{space.name}-{digest:016x}"


def _recipe(context: Context) -> TrainingConfig:
    base = context.experiment.base
    return TrainingConfig(**{name: getattr(base, name) for name in TrainingConfig.model_fields})


def _cached(context: Context) -> Base:
    """The base network from the cache, into which it is trained where it is not there; one process at a time."""
    folder, epochs = base_folder(context), context.experiment.base.epochs
    folder.mkdir(parents=True, exist_ok=True)
    run, wanted = context.folder.path, context.experiment.report.tensorboard
    with (
        stage_progress(context.folder, "base network, epochs", epochs) as meter,
        lock_folder(folder, wait=True),
        open_log(run, wanted) as log,
    ):

        def report(epoch: Epoch) -> None:
            meter.update(min(epoch.number, epochs), partial("loss {:.3f}".format, epoch.loss))
            log.epoch("base", epoch)

        if not (folder / DESCRIPTION_NAME).is_file():
            info = _train(context, folder, report)
            log.accuracies("base", info["validation_accuracy"], info["test_accuracy"])
    try:
        found = load_base(context.space, folder)
    except UserError as error:
        raise UserError(f"{error}; delete {folder}, and the same command trains it again") from None
    return Base(found.network, {**found.info, "classes": context.dataset.arrays.classes})


def _train(context: Context, folder: Path, report: Callable[[Epoch], None]) -> dict[str, Any]:
    """Leave the trained base network in the cache; returns what is known of it."""
    experiment, space, compute = context.experiment, context.space, context.compute
    data = place_data(context.dataset.arrays, compute.device)
    seed = derive_seed(experiment.seed, "base")
    with seeded(seed):
        network = build_network(space).to(compute.device)
    checkpoint = folder / "training.ckpt"
    options = TrainingOptions(seed, checkpoint=checkpoint, notice=say)
    seconds = 0.0
    for epoch in train(network, data, experiment.base, compute, options):
        seconds += epoch.seconds
        report(epoch)
    info = {
        "source": "trained on the training split",
        "seconds": round(seconds, 1),
        "recipe": _recipe(context).model_dump(mode="json"),
        "preprocessing": data.preprocessing,
        "classes": data.classes,
        **_accuracies(network, context, data, compute),
    }
    save_base(Base(network, info), space, folder)
    checkpoint.unlink(missing_ok=True)
    return info


def _given(context: Context) -> Base:
    path, compute = context.experiment.base_weights, context.compute
    assert path is not None
    data = place_data(context.dataset.arrays, compute.device)
    network = load_weights(build_network(context.space), path).to(compute.device).eval()
    info = {
        "source": path,
        "preprocessing": data.preprocessing,
        "classes": data.classes,
        **_accuracies(network, context, data, compute),
        "warnings": [
            f"{path} was trained elsewhere: if it has seen the validation images, "
            "their accuracy tests its memory; set data.validation to images that it has not seen"
        ],
    }
    exact = compute.exact
    measure_neutral_norms(network, data, context.experiment.evaluation.recalibration_images, exact)
    return Base(network.cpu(), info)


def _accuracies(network: nn.Module, context: Context, data: Data, compute: Compute) -> dict[str, float]:
    exact = compute.exact
    test = to_split(context.dataset.test, compute.device)
    return {
        "validation_accuracy": accuracy(network, data, data.validation, exact),
        "test_accuracy": accuracy(network, data, test, exact),
    }
