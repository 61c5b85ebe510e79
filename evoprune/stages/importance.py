"""Importance of the base network's channels, computed in this process: tables in the run's folder."""

from collections.abc import Iterator, Sequence

from evoprune.common.errors import UserError
from evoprune.common.objectives import Row
from evoprune.common.progress import say
from evoprune.config import ImportanceName
from evoprune.data.tensors import place_data
from evoprune.pruning.importance.aggregate import Importance, segment_scores
from evoprune.pruning.importance.criteria import channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import check_scop, learn_scales, scop_steps
from evoprune.runs.folder import timed_stage
from evoprune.runs.live_progress import stage_progress
from evoprune.runs.table import write_table
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.probe import Probe, second_time


def compute_importance(context: Context, names: Sequence[ImportanceName]) -> None:
    """Leave the scores of the base network's channels in `importance/NAME.csv`, where they are not yet."""
    for name in names:
        if not _is_computed(context, name):
            with timed_stage(context.folder, f"importance.{name}"):
                _compute(context, name)


def _is_computed(context: Context, name: ImportanceName) -> bool:
    """Whether the scores are there and whole; they follow from the base network, and can be computed again."""
    if not context.folder.importance(name).exists():
        return False
    try:
        context.scores(name)
    except UserError as error:
        say(f"{error}: it is computed again now")
        return False
    return True


def estimate_s(probe: Probe) -> float:
    """Seconds of the training of SCOP's scales, where the proposals need them; other importances take no time."""
    experiment = probe.context.experiment
    if "scop" not in experiment.search.importances:
        return 0.0
    config = experiment.importance.scop
    epochs, layers = probe.few_epochs(config), check_scop(probe.context.space, config)
    few = experiment.importance.model_copy(update={"scop": config.model_copy(update={"epochs": epochs})})
    seconds = probe.on_all_cores(
        lambda compute: second_time(
            lambda: learn_scales(layers, probe.base, probe.data, ImportanceOptions(few, compute))
        )
    )
    return seconds * config.epochs / epochs


def _compute(context: Context, name: ImportanceName) -> None:
    experiment, space, compute = context.experiment, context.space, context.compute
    data, network = place_data(context.dataset.arrays, compute.device), context.base.network
    steps = scop_steps(experiment.importance.scop, data).number if name == "scop" else len(space.groups)
    with stage_progress(context.folder, f"{name}, {'steps' if name == 'scop' else 'groups'}", steps) as meter:
        options = ImportanceOptions(experiment.importance, compute, experiment.seed, context.moments, meter)
        found = channel_importance(network.to(compute.device), data, space, name, options)
    network.cpu()
    for warning in found.warnings:
        say(f"warning: {warning}")
    context.folder.note(importance={name: found.facts})
    path = context.folder.importance(name)
    layers = path.with_name(f"{name}_layers.csv")
    write_table(layers, list(_layer_rows(found)), ["layer", "side", "channel", *found.parts, "score"])
    write_table(path, _score_rows(space, found), ["segment", "channel", "score"])
    context.folder.seal(path)


def _score_rows(space: SearchSpace, found: Importance) -> list[Row]:
    scores = segment_scores(space, found)
    return [
        {"segment": segment.name, "channel": channel, "score": float(scores[segment.start + channel])}
        for segment in space.segments
        for channel in range(segment.width)
    ]


def _layer_rows(found: Importance) -> Iterator[Row]:
    """A row per channel of every scored layer: what its score was computed from, and the score."""
    for side, scores in (("outputs", found.outputs), ("inputs", found.inputs)):
        for layer, values in scores.items():
            parts = {name: part[layer] for name, part in found.parts.items()}
            for channel, score in enumerate(values):
                row = {"layer": layer, "side": side, "channel": channel, "score": float(score)}
                yield row | {name: float(part[channel]) for name, part in parts.items()}
