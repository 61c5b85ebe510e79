"""The commands of the four steps, analyse, prune, fine-tune and transform, and of the sweep over sparsities."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.progress import say
from evoprune.pruning.targets import Kind, parse_method, parse_target
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.rounds import check_origin, round_to_finetune, round_to_prune, round_to_transform
from evoprune.stages.context import Context, experiment_of_run
from evoprune.stages.pipeline import Request, checked, prepare_base

if TYPE_CHECKING:
    from evoprune.stages.workspace import Workspace


def analyse(request: Request, method: str, images: int | None) -> None:
    """Base network, importance of its channels, and what each segment loses when it alone is pruned."""
    from evoprune.report.picks import alone_line
    from evoprune.stages.curves import read_curves
    from evoprune.stages.pipeline import sensitivity

    context = sensitivity(request, method, images)
    with _opened(context):
        say(alone_line(read_curves(context.folder.sensitivity(parse_method(method)), context.space)))
        say(_workspace(context).table())
    words = ["--out", str(request.out)] if request.out is not None else []
    words += [word for text in request.overrides for word in ("--set", text)]
    words += ["--method", method] if method != "magnitude" else []
    say(f"next: evoprune prune {shlex.join([request.file, *words])} --rate 0.3 --step")


def prune_channels(request: Request, method: str, target: Mapping[Kind, str | None]) -> None:
    """One round: channels out under masks, by the curves that `analyse` has left."""
    from evoprune.pruning.step_targets import step_target
    from evoprune.stages.prune_step import channel_pruning, check_analysed, prune_channels

    importance = parse_method(method)
    context = checked(request, (importance,))
    goal = parse_target(target, context.space)
    step_target(goal, context.space)
    check_analysed(context.folder, importance)
    _check_rounds(context)
    round_to_prune(context.folder, channel_pruning(importance, goal))
    with _opened(context):
        _say_done(context, prune_channels(_workspace(context), importance, goal), "finetune")


def prune_weights(request: Request, options: Mapping[str, str | None]) -> None:
    """One round: the smallest weights out under masks.

    Args:
        request: what to prune.
        options: `sparsity` and `scope` as the user wrote them, None where not; they override the section `weights`.
    """
    from evoprune.stages.prune_step import check_ratios, prune_weights, weight_pruning

    given = [f"weights.{name}={value}" for name, value in options.items() if value is not None]
    context = checked(replace(request, overrides=(*request.overrides, *given)), ())
    config = context.experiment.weights
    if config.sparsity is None and not config.layers:
        raise UserError("prune --weights takes --sparsity, such as 0.5, or ratios by layer in the key weights.layers")
    check_ratios(context)
    if context.folder.base.is_dir():
        _check_rounds(context)
        round_to_prune(context.folder, weight_pruning(config))
    with _opened(context):
        prepare_base(context)
        _check_rounds(context)  # a base network that was deleted may have become another one
        _say_done(context, prune_weights(_workspace(context)), "finetune")


def sweep(request: Request, scope: str | None, epochs: float) -> None:
    """Accuracy against the share of the weights that go, each point from the dense weights."""
    from evoprune.runs.models import check_inherits
    from evoprune.stages.sweep import Sweep, check_recipe, sweep

    if not (math.isfinite(epochs) and epochs >= 0):
        raise UserError(f"--epochs is a number of at least 0; got {epochs:g}; 0 measures without fine-tuning only")
    given = [] if scope is None else [f"weights.scope={scope}"]
    context = checked(replace(request, overrides=(*request.overrides, *given)), ())
    if epochs:
        check_inherits(context.experiment, "sweep")
    if context.experiment.weights.layers:
        say("weights.layers: the sweep goes over one sparsity for all layers, and takes no notice of it")
    workspace, wanted = _workspace(context), Sweep(context.experiment.weights.scope, epochs)
    check_recipe(context.folder.sweep(wanted.name), workspace, wanted)
    with _opened(context):
        prepare_base(context)
        say(sweep(workspace, wanted))


def search_weights(request: Request) -> None:
    """NSGA-III over the sparsities of the layers."""
    from evoprune.stages.sparsity_search import search_sparsities

    context = checked(request, ())
    if context.experiment.search.round_to > 1 or context.experiment.search.limits:
        say("search.round_to and search.limits are those of channels: the search --weights takes no notice of them")
    with _opened(context):
        prepare_base(context)
        say(search_sparsities(_workspace(context)))


def finetune(path: Path, overrides: Sequence[str]) -> None:
    """Train the network of the last round on, its zeros kept."""
    from evoprune.runs.models import check_inherits, training_settings
    from evoprune.stages.finetune import finetune

    context = _context_of_run(path, overrides)
    check_inherits(context.experiment, "finetune")
    round_to_finetune(context.folder, training_settings(context.experiment))
    with _opened(context):
        _say_done(context, finetune(_workspace(context)), "transform")


def transform(path: Path, overrides: Sequence[str]) -> None:
    """Make the fine-tuned network of the last round lighter, and verify it."""
    from evoprune.stages.transform import transform

    context = _context_of_run(path, overrides)
    place = round_to_transform(context.folder, context.experiment.weights.csr_from)
    with _opened(context):
        say(transform(_workspace(context)))
        say(f"results: {place.model('transformed')}/  (evoprune.load_model reads it)")


@contextmanager
def _opened(context: Context) -> Iterator[None]:
    """The run's folder, its configuration put back where the step is refused: the next step reads it from there."""
    config = context.folder.config
    before = config.read_bytes() if config.is_file() else None
    with open_run_folder(context.folder.path, context.experiment):
        try:
            yield
        except UserError:
            if before is not None:
                write_atomically(config, before)
            raise


def _context_of_run(path: Path, overrides: Sequence[str]) -> Context:
    context = Context(experiment_of_run(path, overrides), RunFolder(path))
    _check_rounds(context)
    return context


def _check_rounds(context: Context) -> None:
    check_origin(context.folder, context.space.name)


def _workspace(context: Context) -> "Workspace":
    from evoprune.stages.workspace import Workspace

    return Workspace(context)


def _say_done(context: Context, table: str, following: str) -> None:
    say(table)
    say(
        f"results: {context.folder.steps}/  (summary.csv, summary.md); next: evoprune {following} {context.folder.path}"
    )
