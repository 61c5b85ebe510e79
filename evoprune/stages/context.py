"""What the stages of a run share: the experiment, the folder, and what is loaded once, when it is first asked for."""

from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from evoprune.common.errors import UserError
from evoprune.config import Experiment, ImportanceName
from evoprune.data.dataset import Dataset, DataShape
from evoprune.data.sources import DataSource
from evoprune.data.split import make_dataset
from evoprune.runs.folder import RunFolder
from evoprune.runs.table import read_rows
from evoprune.space.from_yaml import load_search_space
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace

if TYPE_CHECKING:  # a report is written without torch
    from evoprune.networks.base import Base
    from evoprune.networks.device import Compute
    from evoprune.pruning.moments import Moments


class Context:
    """One run of one experiment, in this process.

    Attributes:
        experiment: what is to be done.
        folder: of the run; stages leave files in it for the stages that follow.
        source: the data set, which is read once.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, shape: DataShape | None = None):
        """`shape` is that of the data set, where it is known and the data set need not be at hand."""
        self.experiment, self.folder = experiment, folder
        self.source = DataSource(experiment.data)
        self._shape = shape
        self.scores = cache(self._read_scores)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, with the classes, channels and image size of the data."""
        shape = self._shape or self.source.shape
        config = self.experiment.search_space
        try:
            return load_search_space(config.name, config.width, shape.num_classes, shape.in_channels, shape.image_size)
        except UserError as error:
            raise UserError(f"search_space.name: {error}") from None

    @cached_property
    def dataset(self) -> Dataset:
        """All images, split."""
        self.source.shape  # noqa: B018  read together with the images
        return make_dataset(self.source.read(), self.experiment.data)

    @cached_property
    def base(self) -> "Base":
        """The base network, on the CPU, as the stage before has left it in the folder."""
        from evoprune.networks.base import load_base

        return load_base(self.space, self.folder.base)

    @cached_property
    def moments(self) -> "Moments | None":
        """What the base network's layers read, as the stage before has left it; None where weights are plain."""
        from evoprune.pruning.moments import load_moments

        return load_moments(self.folder.moments) if self.experiment.inherit == "compensated" else None

    @property
    def compute(self) -> "Compute":
        """Device and precision of what this process does itself, with all its cores."""
        from evoprune.networks.device import make_compute

        return make_compute(self.experiment.workers.device, self.experiment.precision)

    def _read_scores(self, name: ImportanceName) -> Scores:
        """Importance of every bit of a code, shape (space.length,), as the stage before has left it in the folder."""
        return np.array([row["score"] for row in read_rows(self.folder.importance(name))], dtype=float)


def recorded_shape(folder: RunFolder) -> DataShape | None:
    """The shape of the data set of a run that has begun, also where the data set is not at hand."""
    shape = folder.facts().get("data_shape")
    return DataShape(**shape) if shape else None
