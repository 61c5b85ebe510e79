"""Which importances there are: a new one is one function here and a name in `config/importance.py`."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import ImportanceName
from evoprune.data.tensors import Data
from evoprune.pruning.importance.aggregate import Importance
from evoprune.pruning.importance.magnitude import weight_scores
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import scop_scores
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.space.space import SearchSpace


def layer_importance(
    network: nn.Module,
    data: Data,
    space: SearchSpace,
    name: ImportanceName = "magnitude",
    options: ImportanceOptions = ImportanceOptions(),
) -> Importance:
    """How important the output channels of every layer of `network` are.

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
    config = options.config
    if config.criterion == "taylor":
        scores = taylor_scores(space, network, data, config.images, options.compute)
    else:
        scores = weight_scores(space, network, config.criterion)
    return Importance(scores, {"criterion": config.criterion})


def _scop(network: nn.Module, data: Data, space: SearchSpace, options: ImportanceOptions) -> Importance:
    return scop_scores(space, network, data, replace(options, seed=derive_seed(options.seed, "scop")))


IMPORTANCES: dict[str, Callable[[nn.Module, Data, SearchSpace, ImportanceOptions], Importance]] = {
    "magnitude": _magnitude,
    "scop": _scop,
}
