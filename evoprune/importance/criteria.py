"""Which importances there are: a new one is one function here and a name in the config."""

from torch import nn

from evoprune.compute import Compute
from evoprune.config import Experiment, ImportanceName
from evoprune.data import Data
from evoprune.importance.magnitude import taylor_scores, weight_scores
from evoprune.importance.scop import scop_scores
from evoprune.importance.segments import Importance
from evoprune.seeds import derive_seed
from evoprune.space import SearchSpace


def layer_importance(
    name: ImportanceName, experiment: Experiment, space: SearchSpace, network: nn.Module, data: Data, compute: Compute
) -> Importance:
    """The importance `name` of `network`, as the section `importance` of the experiment says.

    Args:
        name: `magnitude` or `scop`.
        experiment: its `importance` and its seed.
        space: the search space of `network`, or that of a slim network itself.
        network: on `compute.device`; left as it is.
        data: its training split.
        compute: device and precision.
    """
    return {"magnitude": _magnitude, "scop": _scop}[name](experiment, space, network, data, compute)


def _magnitude(
    experiment: Experiment, space: SearchSpace, network: nn.Module, data: Data, compute: Compute
) -> Importance:
    config = experiment.importance
    if config.criterion == "taylor":
        scores = taylor_scores(space, network, data, config.images, compute)
    else:
        scores = weight_scores(space, network, config.criterion)
    return Importance(scores, {"criterion": config.criterion})


def _scop(experiment: Experiment, space: SearchSpace, network: nn.Module, data: Data, compute: Compute) -> Importance:
    return scop_scores(space, network, data, experiment.importance.scop, compute, derive_seed(experiment.seed, "scop"))
