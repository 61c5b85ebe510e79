"""The step that trains a pruned network on: what is zero stays zero, and sparsity may rise on the way."""

import json

from torch import nn

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.progress import progress, say
from evoprune.common.seeds import derive_seed
from evoprune.config import parse_weights
from evoprune.pruning.weights.hooks import KeptZero, Rising
from evoprune.pruning.weights.masks import Masks, apply_masks, from_here
from evoprune.runs.folder import timed_stage
from evoprune.runs.models import training_settings
from evoprune.runs.rounds import Round, round_to_finetune
from evoprune.stages.prune_step import groups_of, rising_of
from evoprune.stages.workspace import Workspace
from evoprune.training.distillation import make_teacher
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.tensorboard_log import open_log


def finetune(workspace: Workspace) -> str:
    """Train the network of the last round as `retrain` says, and leave it; returns the table.

    Raises:
        UserError: a step out of order, or a learning rate with which nothing is learnt.
    """
    context = workspace.context
    settings = training_settings(context.experiment)
    place = round_to_finetune(context.folder, settings)
    if not place.has("finetuned"):
        network, masks, _ = workspace.load(place, "pruned")
        kept = KeptZero(network, masks, _rising(workspace, network, place, masks), say)
        with timed_stage(context.folder, "finetune"):
            _train(workspace, network, place, kept)
        apply_masks(network, kept.masks)  # zeros of either sign to plain ones, which files compress
        before = place.description("pruned")
        facts = {name: before[name] for name in ("pruning", "round", "code", "key")}
        facts |= {"training": settings, "test_accuracy": workspace.test_accuracy(network)}
        workspace.save(network, kept.masks, (place, "finetuned"), facts)
        for checkpoint in place.path.glob("training-*.ckpt"):
            checkpoint.unlink()
    return workspace.table()


def _rising(workspace: Workspace, network: nn.Module, place: Round, masks: Masks) -> Rising | None:
    """As the round was pruned, whatever the experiment says by now."""
    pruning = place.description("pruned")["pruning"]
    if pruning.get("kind") != "weights":
        return None
    config = parse_weights(pruning.get("weights"), str(place.model("pruned")))
    return rising_of(from_here(network, groups_of(network, workspace, config), masks), config)


def _train(workspace: Workspace, network: nn.Module, place: Round, kept: KeptZero) -> None:
    experiment = workspace.context.experiment
    config = experiment.retrain
    facts = json.dumps([place.description("pruned")["pruning"], training_settings(experiment)], sort_keys=True)
    checkpoint = place.path / f"training-{derive_seed(facts):016x}.ckpt"  # one of other keys is not continued
    teacher = make_teacher(workspace.context.base.network, workspace.data, config, workspace.compute)
    seed = derive_seed(experiment.seed, "finetune", place.number)
    options = TrainingOptions(seed, teacher, config.averaging, checkpoint=checkpoint, after_step=kept, notice=say)
    run, wanted = workspace.context.folder.path, experiment.report.tensorboard
    title = f"round {place.number}, fine-tuning, epochs"
    with progress(title, config.epochs) as meter, open_log(run, wanted) as log:
        try:
            for epoch in train(network, workspace.data, config, workspace.compute, options):
                meter.update(min(epoch.number, config.epochs))
                log.epoch(f"finetune-round-{place.number}", epoch)
        except TrainingError as error:
            raise UserError(f"finetune: {error} (retrain.lr is {config.lr:g})") from None
