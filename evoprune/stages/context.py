"""What the stages of a run share: the experiment, the folder, and what is loaded once, when it is first asked for."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evoprune.common.errors import UserError
from evoprune.common.files import check_plain
from evoprune.common.user_files import is_missing
from evoprune.config import Experiment, ImportanceName, NetworkConfig, load_experiment
from evoprune.data.dataset import Dataset, DataShape
from evoprune.data.sources import DataSource
from evoprune.data.split import make_dataset
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import is_left_over
from evoprune.runs.scores_csv import read_scores
from evoprune.space.from_yaml import load_search_space
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_yaml import read_fitting_space, read_space

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

    def __init__(self, experiment: Experiment, folder: RunFolder, shape: DataShape | None = None, anew: bool = False):
        """`shape` is that of the data set, where it is known and the data set need not be at hand.

        With `anew` what a run has left in the folder is of no account.
        """
        self.experiment, self.folder = experiment, folder
        self._anew = anew
        self.source = DataSource(experiment.data, folder.path.resolve().parent)
        self._shape = shape
        self.scores = cache(self._read_scores)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, with the classes, channels and image size of the data."""
        shape = self._shape or self.source.shape
        network, config = self.experiment.network, self.experiment.search_space
        if network is not None and network.is_traced:
            return self._traced_space(network, shape)
        key = "network.source" if network is not None else "search_space.name"
        name = network.source if network is not None else config.name  # type: ignore[union-attr]
        width = config.width if config is not None else None
        try:
            return load_search_space(name, width, shape.num_classes, shape.in_channels, shape.image_size)
        except UserError as error:
            raise UserError(f"{key}: {error}") from None

    def _traced_space(self, network: NetworkConfig, shape: DataShape) -> TracedSpace:
        """The one that this run has read before, that of the user's file, or what is read from the network now."""
        config = self.experiment.search_space
        own = [self.folder.search_space] if self.goes_on else []
        known = [*own, *([Path(config.name)] if config is not None else [])]
        written = next((path for path in known if path.is_file()), None)
        if written is not None:
            self._check_space(written)
            if written in own and (self._shape is not None or is_missing(network.full_source)):
                return read_space(written)  # a report needs no network, and may be written from any folder
        from evoprune.networks.sources import source_spec

        spec = source_spec(network.full_source, network.arguments, network.stem, asdict(shape))
        if written is not None:
            own_advice = f"put {network.source} and the images back as they were, or choose another --out"
            advice = own_advice if written in own else "`evoprune space --out` writes one that fits"
            return read_fitting_space(written, spec, asdict(shape), advice)
        if config is not None:
            raise UserError(
                f"search_space.name: {config.name}: no such file; without this section "
                f"`evoprune space FILE --out {config.name}` writes one"
            )
        from evoprune.networks.traced import read_network

        return read_network(spec, shape.height_width)

    @property
    def goes_on(self) -> bool:
        """Whether what a run has left in the folder counts."""
        return not (self._anew or is_left_over(self.folder, self.experiment))

    def _check_space(self, written: Path) -> None:
        try:
            if written == self.folder.search_space:
                self.folder.check(written)
        except UserError as error:
            raise UserError(f"{error}; delete it, and `evoprune run` reads the network again") from None

    def settle_space(self) -> None:
        """Take the search space from the run's folder from now on."""
        self.__dict__.pop("space", None)

    @cached_property
    def dataset(self) -> Dataset:
        """All images, split.

        Raises:
            UserError: they cannot be read, or are not those that the run began with.
        """
        self.source.shape  # noqa: B018  read together with the images
        dataset = make_dataset(self.source.read(), self.experiment.data)
        noted = self.folder.facts().get("images") if self.goes_on else None
        if noted not in (None, list(dataset.fingerprint)):
            raise UserError(
                f"data: images or labels are not those that {self.folder.path} was begun with; put them back as they "
                "were, or choose another --out"
            )
        return dataset

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
        self.folder.check(self.folder.importance(name))
        channels = [(segment.name, channel) for segment in self.space.segments for channel in range(segment.width)]
        return np.array(read_scores(self.folder.importance(name), channels), dtype=float)


def recorded_shape(folder: RunFolder) -> DataShape | None:
    """The shape of the data set of a run that has begun, also where the data set is not at hand."""
    shape = folder.facts().get("data_shape")
    if not shape:
        return None
    if not _is_shape(shape):
        raise UserError(f"{folder.run_json}: data_shape is no shape; remove it, and `evoprune run` notes it again")
    return DataShape(**shape)


def _is_shape(shape: dict[str, object]) -> bool:
    if set(shape) != {field.name for field in fields(DataShape)}:
        return False
    size = shape["image_size"]
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    return all(type(n) is int and n > 0 for n in (*sides, shape["num_classes"], shape["in_channels"]))


def experiment_of_run(path: Path, overrides: Sequence[str]) -> Experiment:
    """The experiment that a run's folder holds, with overrides."""
    config = RunFolder(path).config
    if not config.is_file():
        what = f"{config} is a folder; remove it" if config.is_dir() else f"it has no {config.name}"
        raise UserError(
            f"{path}: not the folder of a run; {what}; `evoprune run` of the experiment writes it, soon after it starts"
        )
    check_plain(path)
    try:
        return load_experiment(str(config), overrides)
    except UserError as error:
        if overrides and _is_sound(config):
            raise
        raise UserError(
            f"{error}; where {config} is damaged, `evoprune run` of the experiment writes it again"
        ) from None


def _is_sound(config: Path) -> bool:
    try:
        load_experiment(str(config))
    except UserError:
        return False
    return True


def context_of_run(path: Path, overrides: Sequence[str] = ()) -> Context:
    """The context of a run that has begun; its data set need not be at hand."""
    folder = RunFolder(path)
    return Context(experiment_of_run(path, overrides), folder, recorded_shape(folder))
