"""How far single weights can go: accuracy from no sparsity to all of it, each from the dense weights."""

import copy
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from evoprune.common.errors import TrainingError, UserError
from evoprune.common.objectives import Row
from evoprune.common.progress import progress, say
from evoprune.common.seeds import derive_seed
from evoprune.config import WeightsConfig
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.checkpoints import weights_file
from evoprune.networks.counts import count
from evoprune.pruning.weights.hooks import KeptZero
from evoprune.pruning.weights.masks import Masks, apply_masks, smallest_out, sparsity
from evoprune.report.figures import draw_sweep
from evoprune.report.picks import knee_of
from evoprune.report.tables import sweep_table
from evoprune.runs.folder import timed_stage
from evoprune.runs.models import training_settings
from evoprune.runs.table import Table, read_rows
from evoprune.stages.prune_step import groups_of
from evoprune.stages.workspace import Workspace
from evoprune.training.distillation import make_teacher
from evoprune.training.loop import TrainingOptions, train

NUM_POINTS = 21
COLUMNS = (
    *("id", "sparsity", "achieved", "accuracy", "accuracy_finetuned", "params", "nonzero_params", "zipped_bytes"),
    *("epochs", "seconds", "recipe"),
)


@dataclass(frozen=True)
class Sweep:
    """What is swept.

    Attributes:
        scope: whether weights of all layers are ranked together (`global`), or those of each (`layer`).
        epochs: of fine-tuning at each point; 0 for none.
    """

    scope: str
    epochs: float

    @property
    def name(self) -> str:
        """The name of its table, such as `weights-layer-epochs-1`."""
        return f"weights-{self.scope}" + (f"-epochs-{self.epochs:g}" if self.epochs else "")


def sweep(workspace: Workspace, wanted: Sweep) -> str:
    """Measure the points that are not measured yet, leave table and picture; returns the table.

    Raises:
        UserError: the table that is there was made with other keys of `retrain`.
    """
    context = workspace.context
    path = context.folder.sweep(wanted.name)
    recipe = check_recipe(path, workspace, wanted)
    path.parent.mkdir(exist_ok=True)
    table = Table(path, COLUMNS, place=("id",))
    missing = [point for point in range(NUM_POINTS) if table.find(point) is None]
    if missing:
        with timed_stage(context.folder, f"sweep.{wanted.name}"), progress("sweep", NUM_POINTS) as meter:
            for point in missing:
                table.append({"id": point, "recipe": recipe, **_measure(workspace, wanted, point / (NUM_POINTS - 1))})
                meter.update(len(table.rows))
    table.sort()
    pictures = context.experiment.report.files(path.with_suffix(""))
    draw_sweep(pictures, table.rows, wanted.scope)
    knee = knee_of(table.rows)
    say(f"knee: {100 * knee['sparsity']:.0f} % at {knee['accuracy']:.2f} %; {', '.join(map(str, (path, *pictures)))}")
    return sweep_table(table.rows)


def check_recipe(path: Path, workspace: Workspace, wanted: Sweep) -> str:
    """What tells fine-tunings apart.

    Raises:
        UserError: the table at `path` has another one.
    """
    settings = training_settings(workspace.context.experiment) | {"epochs": wanted.epochs}
    recipe = f"r{derive_seed(json.dumps(settings, sort_keys=True)):016x}" if wanted.epochs else "none"
    if path.is_file() and any(row["recipe"] != recipe for row in read_rows(path)):
        raise UserError(f"{path}: was measured with other keys of retrain; take them back, or delete that file")
    return recipe


def _measure(workspace: Workspace, wanted: Sweep, share: float) -> Row:
    """One row: masks only, and after fine-tuning with them; both from the dense weights."""
    started = time.monotonic()
    network = copy.deepcopy(workspace.context.base.network).to(workspace.compute.device).eval()
    # The bounds of the section are those of a pruning; here both ends are measured too.
    config = WeightsConfig().model_copy(update={"sparsity": share, "scope": wanted.scope})
    groups = groups_of(network, workspace, config)
    masks = smallest_out(network, groups)
    apply_masks(network, masks)
    counts = count(network, workspace.example)
    row: Row = {
        "sparsity": share,
        "achieved": round(sparsity(masks, list(masks)), 6),
        "accuracy": _if_finite(partial(_accuracy, workspace, network)),
        "params": counts.params,
        "nonzero_params": counts.nonzero_params,
        "zipped_bytes": len(zlib.compress(weights_file(network))),
        "epochs": wanted.epochs,
    }
    if wanted.epochs:
        row["accuracy_finetuned"] = _if_finite(partial(_finetuned, workspace, network, masks, wanted))
    return {**row, "seconds": round(time.monotonic() - started, 2)}


def _if_finite(measure: Callable[[], float]) -> float | None:
    """What `measure` gives; None where numbers are not finite, as of features that are all zero and divided by that."""
    try:
        return measure()
    except TrainingError as error:
        say(f"sweep: {error}")
        return None


def _finetuned(workspace: Workspace, network: nn.Module, masks: Masks, wanted: Sweep) -> float:
    """Validation accuracy in % after fine-tuning."""
    experiment = workspace.context.experiment
    recipe = experiment.retrain.model_copy(update={"epochs": wanted.epochs})
    teacher = make_teacher(workspace.context.base.network, workspace.data, recipe, workspace.compute)
    seed, kept = derive_seed(experiment.seed, "sweep"), KeptZero(network, masks)
    options = TrainingOptions(seed, teacher, recipe.averaging, after_step=kept)
    for _ in train(network, workspace.data, recipe, workspace.compute, options):
        pass
    return _accuracy(workspace, network)


def _accuracy(workspace: Workspace, network: nn.Module) -> float:
    exact = workspace.compute.exact
    return accuracy(network, workspace.data, workspace.data.validation, exact)
