"""Which importances there are: a new one is one function here and a name in `config/importance.py`."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import ImportanceName
from evoprune.data.tensors import Data
from evoprune.pruning.importance.aggregate import Importance, relative
from evoprune.pruning.importance.least_squares import activation_scores, least_squares_scores
from evoprune.pruning.importance.magnitude import consumer_scores, weight_scores
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import scop_scores
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.pruning.moments import Moments, measure_moments, moment_inputs
from evoprune.space.space import SearchSpace


def channel_importance(
    network: nn.Module,
    data: Data,
    space: SearchSpace,
    name: ImportanceName = "magnitude",
    options: ImportanceOptions = ImportanceOptions(),
) -> Importance:
    """How important the channels are that the layers of `network` write and read.

    Args:
        network: on the device of `options.compute`; left as it is.
        data: its training split is used.
        space: the search space of `network`, or that of a slim network itself.
        name: `magnitude` or `scop`.
        options: criterion, device, seed.

    Raises:
        UserError: an importance that this network or its images cannot have.
        TrainingError: SCOP's loss was not finite.
    """
    return IMPORTANCES[name](network, data, space, options)


def _magnitude(network: nn.Module, data: Data, space: SearchSpace, options: ImportanceOptions) -> Importance:
    config, facts = options.config, {"criterion": options.config.criterion}
    match config.criterion:
        case "taylor":
            return Importance(relative(taylor_scores(space, network, data, config.images, options.compute)), facts)
        case "consumer_l2":
            return Importance({}, facts, relative(consumer_scores(space, network)))
        case "group_l2":
            return Importance(
                relative(weight_scores(space, network, "l2")), facts, relative(consumer_scores(space, network))
            )
        case "activation":
            moments = _moments(network, data, space, options)
            return Importance({}, facts, relative(activation_scores(space, network, moments)))
        case "least_squares":
            moments = _moments(network, data, space, options)
            return Importance({}, facts, least_squares_scores(space, network, moments, options.meter))
        case criterion:
            return Importance(relative(weight_scores(space, network, criterion)), facts)


def _moments(network: nn.Module, data: Data, space: SearchSpace, options: ImportanceOptions) -> Moments:
    if options.moments is not None:
        return options.moments
    return measure_moments(space, network, moment_inputs(data, options.seed), options.compute)


def _scop(network: nn.Module, data: Data, space: SearchSpace, options: ImportanceOptions) -> Importance:
    return scop_scores(space, network, data, replace(options, seed=derive_seed(options.seed, "scop")))


IMPORTANCES: dict[str, Callable[[nn.Module, Data, SearchSpace, ImportanceOptions], Importance]] = {
    "magnitude": _magnitude,
    "scop": _scop,
}
