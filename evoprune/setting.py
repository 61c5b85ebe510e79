"""What every stage of a run needs, prepared once: experiment, search space, parent network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from evoprune.base import Base, load_base, prepare_base, save_base
from evoprune.checkpoints import DESCRIPTION_NAME
from evoprune.compute import make_compute
from evoprune.config import Experiment, ImportanceName, SearchConfig
from evoprune.datasets import DataShape, check_data_keys, load_raw_data, peek_shape
from evoprune.errors import UserError
from evoprune.importance.scop import check_scop
from evoprune.importance.segments import Scores
from evoprune.limits import make_limits
from evoprune.progress import progress, say
from evoprune.run_folder import RunFolder, timed_stage
from evoprune.scores import scores_of_run
from evoprune.search import reference_directions
from evoprune.sensitivity_curves import read_curves
from evoprune.space import SearchSpace, load_search_space


@dataclass(frozen=True)
class Setting:
    """An experiment with its search space, its parent network (on the CPU), and the scores its proposals need."""

    experiment: Experiment
    space: SearchSpace
    base: Base
    scores: Mapping[str, Scores]


def check_experiment(experiment: Experiment, importances: tuple[ImportanceName, ...] | None = None) -> SearchSpace:
    """Find what would stop the run, before it starts: files, limits, population, scores. Returns the search space.

    Args:
        experiment: to be checked.
        importances: that are to be computed without a search; by default a search is to come, whose keys must be right.

    Raises:
        UserError: with the key that is wrong.
    """
    check_data_keys(experiment.data)
    space = make_space(experiment)
    if importances is None:
        _check_search(experiment.search, space)
    if "scop" in (experiment.search.importances if importances is None else importances):
        check_scop(space, experiment.importance.scop)
    weights = experiment.base.weights
    if weights is not None and not Path(weights).exists():
        raise UserError(f"base.weights: {weights}: no such file")
    return space


def _check_search(config: SearchConfig, space: SearchSpace) -> None:
    make_limits(space, config.limits)
    reference_directions(len(config.objectives), config.num_individual)
    if config.sensitivity_file is not None:
        try:
            read_curves(config.sensitivity_file, space)
        except UserError as error:
            raise UserError(f"search.sensitivity: {error}; or take `measured`, or null") from None


def space_of_run(experiment: Experiment, folder: RunFolder) -> SearchSpace:
    """The search space of a run that has begun, also where its data set is not at hand."""
    shape = folder.facts().get("data_shape")
    return make_space(experiment, DataShape(**shape) if shape else None)


def prepare(
    experiment: Experiment, folder: RunFolder, importances: tuple[ImportanceName, ...] | None = None
) -> Setting:
    """Load the data set, and load or train the parent network; it stays in the run's folder from then on.

    Args:
        experiment: what to prepare.
        folder: of the run.
        importances: which scores are wanted; by default those that the search's proposals need.
    """
    space = make_space(experiment)
    if not (folder.base / DESCRIPTION_NAME).is_file():
        with timed_stage(folder, "base"):
            save_base(_make_base(experiment, space), space, folder.base)
    base = load_base(space, folder.base)
    folder.note(base=base.info, data_shape=asdict(peek_shape(experiment.data)))
    for warning in base.info.get("warnings", []):
        say(f"warning: {warning}")
    wanted = experiment.search.importances if importances is None else importances
    scores = scores_of_run(experiment, space, base, folder, wanted)
    return Setting(experiment, space, base, scores)


def make_space(experiment: Experiment, shape: DataShape | None = None) -> SearchSpace:
    """The search space of an experiment, with the classes, channels and image size of its data."""
    shape = shape or peek_shape(experiment.data)
    name, width = experiment.search_space.name, experiment.search_space.width
    try:
        return load_search_space(name, width, shape.num_classes, shape.in_channels, shape.image_size)
    except UserError as error:
        raise UserError(f"search_space.name: {error}") from None


def _make_base(experiment: Experiment, space: SearchSpace) -> Base:
    raw = load_raw_data(experiment.data)
    compute = make_compute(experiment.workers.device, experiment.precision)
    with progress("base network, epochs", experiment.base.epochs) as meter:
        for event in prepare_base(experiment, space, raw, compute):
            if isinstance(event, Base):
                return event
            meter.update(event.number, partial("loss {:.3f}".format, event.loss))
    raise AssertionError("prepare_base ends with the base network")
