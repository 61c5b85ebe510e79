"""What would stop a run is found before it starts; what takes long to import comes last, so mistakes are told soon."""

from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.common.hardware import total_memory
from evoprune.common.progress import say
from evoprune.config import ImportanceName, ScopConfig, SearchConfig
from evoprune.space.costs import BYTES_PER_VALUE, code_costs
from evoprune.space.limits import make_limits
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.select_networks import check_selection
from evoprune.stages.taken_files import is_taken

_COPIES = 3  # weights, gradients, momenta


def validate(context: Context, importances: tuple[ImportanceName, ...] | None = None) -> None:
    """Check files, limits, population and importances, and say what images a folder has.

    Args:
        context: of the run.
        importances: that are to be computed without a search; by default a search is to come, whose keys must be right.

    Raises:
        UserError: with the key that is wrong.
    """
    experiment, weights_key = context.experiment, context.experiment.base_weights_key
    context.source.check()
    if experiment.report.tensorboard:
        from evoprune.training.tensorboard_log import check_tensorboard

        check_tensorboard()
    space = context.space
    weights = _not_taken(context, weights_key, experiment.base_weights)
    if weights is not None and not weights.exists():
        raise UserError(f"{weights_key}: {weights}: no such file")
    _check_memory(space, "search_space.width" if experiment.network is None else "network.source")
    if importances is None:
        _check_search(experiment.search, space)
        _check_curves(_not_taken(context, "search.sensitivity", experiment.search.sensitivity_file), space)
        check_selection(experiment, space)
    if "scop" in (experiment.search.importances if importances is None else importances):
        _check_scop(space, experiment.importance.scop)
    if weights is not None:
        _check_weights(space, weights, weights_key)
    for fact in context.source.facts():  # last: decoding takes longest
        say(fact)


def _not_taken(context: Context, key: str, path: str | Path | None) -> Path | None:
    """A file of the user's, unless the run has taken it over and goes on with what it has of it."""
    if path is None or (context.goes_on and is_taken(context.folder, key)):
        return None
    return Path(path)


def _check_search(config: SearchConfig, space: SearchSpace) -> None:
    widest = max((segment.width for segment in space.segments), default=0)
    if 1 < config.round_to >= widest:
        raise UserError(
            f"search.round_to: got {config.round_to}, but the widest segment of {space.name} has {widest} channels, so "
            "that nothing could be pruned; take at most half of that"
        )
    make_limits(space, config.limits, round_to=config.round_to)
    from evoprune.search.population import reference_directions

    reference_directions(len(config.objectives), config.num_individual)


def _check_curves(path: Path | None, space: SearchSpace) -> None:
    from evoprune.stages.curves import read_curves

    try:
        if path is not None:
            read_curves(path, space)
    except UserError as error:
        raise UserError(f"search.sensitivity: {error}; or take `measured`, or null") from None


def _check_scop(space: SearchSpace, config: ScopConfig) -> None:
    from evoprune.networks.build import build_network
    from evoprune.pruning.importance.scop import check_scop, convolution_of

    layers, network = check_scop(space, config), build_network(space)
    for layer in layers:
        convolution_of(network, layer)


def _check_memory(space: SearchSpace, key: str) -> None:
    """Raise UserError where the base network's weights, gradients and momenta alone are more than this machine has."""
    params, memory = code_costs(space, space.full_code())["params"], total_memory()
    if memory is not None and _COPIES * BYTES_PER_VALUE * params > memory:
        raise UserError(
            f"{key}: the base network has {params:,} parameters, which cannot be trained in "
            f"{memory / 1e9:.0f} GB of memory; take a smaller network"
        )


def _check_weights(space: SearchSpace, weights: Path, key: str) -> None:
    from evoprune.networks.build import build_network
    from evoprune.networks.checkpoints import load_weights

    try:
        load_weights(build_network(space), weights)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
