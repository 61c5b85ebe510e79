"""The section `base`."""

from evoprune.config.section import PathText
from evoprune.config.training import TrainingConfig


class BaseConfig(TrainingConfig):
    """The base network: the uncut CNN. Its weights are given, or trained on the training split by these keys."""

    weights: PathText | None = None
    """A model of evoprune, or a CIFAR ResNet checkpoint. By default the base network is trained."""
    cache: PathText = "results/base"
    """Folder of trained base networks. The same recipe, data, seed and precision is not trained twice."""
