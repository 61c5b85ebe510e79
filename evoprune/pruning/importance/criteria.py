"""Which importances there are: a new one is one function here and a name in `config/importance.py`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import ImportanceName
from evoprune.data.tensors import Data
from evoprune.pruning.importance.aggregate import Importance, relative, unscored_groups
from evoprune.pruning.importance.least_squares import activation_scores, least_squares_scores, share_of_energy
from evoprune.pruning.importance.magnitude import consumer_scores, parameter_norms, weight_scores
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import scop_scores
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.pruning.moments import Moments, measure_moments, moment_inputs
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace


def channel_importance(
    network: nn.Module,
    data: Data,
    space: SearchSpace,
    name: ImportanceName = "magnitude",
    options: ImportanceOptions = ImportanceOptions(),
) -> Importance:
    """How important the channels are that the layers of `network` write and read.

    Where no layer has a score, as one of a class of the user's own has none, the parameters of a channel stand for it.

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
    found = IMPORTANCES[name](network, data, space, options)
    return _completed(found, space, network) if isinstance(space, TracedSpace) else found


def _completed(found: Importance, space: TracedSpace, network: nn.Module) -> Importance:
    """The importance, with scores by all their parameters of the channels of which no layer has any."""
    names = [segment for group in unscored_groups(space, found) for segment in group.segments]
    if not names:
        return found
    first_writers = {space.table.writers[name][0] for name in names}
    norms = np.append(parameter_norms(space, network), 0.0)  # where -1 points
    scores = {one.name: norms[space.output_bits(one)] for one in space.layers if one.name in first_writers}
    if found.facts.get("criterion") == "least_squares":
        scores = {name: share_of_energy(values[:, None]) for name, values in scores.items()}
    else:
        scores = relative(scores)
    warning = f"importance: no layer of {', '.join(names)} can be scored; the norm of their parameters is taken"
    return replace(found, outputs={**found.outputs, **scores}, warnings=(*found.warnings, warning))


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
