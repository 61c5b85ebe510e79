"""The section `base`."""

from evoprune.config.section import PathText
from evoprune.config.training import TrainingConfig


class BaseConfig(TrainingConfig):
    """The base network: the uncut CNN. Its weights are given, or trained on the training split by these keys."""

    weights: PathText | None = None
    """A model of evoprune, or a checkpoint: a file with the network's `state_dict` (also under `state_dict`, also with
    `module.`), every name and shape as in the network, its classifier too. The network must know your classes already:
    fine-tune weights of others, such as ImageNet's, to yours first. Give `data.mean` and `data.std` of its training. By
    default the base network is trained."""
    cache: PathText = "results/base"
    """Folder of trained base networks. The same recipe, data, seed and precision is not trained twice."""
