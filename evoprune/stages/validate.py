"""What would stop a run is found before it starts."""

from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.common.progress import say
from evoprune.config import ImportanceName, SearchConfig
from evoprune.pruning.importance.scop import check_scop
from evoprune.search.nsga3 import reference_directions
from evoprune.space.limits import make_limits
from evoprune.space.space import SearchSpace
from evoprune.stages.analyse import read_curves
from evoprune.stages.context import Context


def validate(context: Context, importances: tuple[ImportanceName, ...] | None = None) -> None:
    """Check files, limits, population and importances, and say what images a folder has.

    Args:
        context: of the run.
        importances: that are to be computed without a search; by default a search is to come, whose keys must be right.

    Raises:
        UserError: with the key that is wrong.
    """
    experiment = context.experiment
    context.source.check()
    space = context.space
    if importances is None:
        _check_search(experiment.search, space)
    if "scop" in (experiment.search.importances if importances is None else importances):
        check_scop(space, experiment.importance.scop)
    weights = experiment.base_weights
    if weights is not None and not Path(weights).exists():
        raise UserError(f"base.weights: {weights}: no such file")
    for fact in context.source.facts():  # last: decoding takes longest
        say(fact)


def _check_search(config: SearchConfig, space: SearchSpace) -> None:
    make_limits(space, config.limits)
    reference_directions(len(config.objectives), config.num_individual)
    if config.sensitivity_file is not None:
        try:
            read_curves(config.sensitivity_file, space)
        except UserError as error:
            raise UserError(f"search.sensitivity: {error}; or take `measured`, or null") from None
