"""A saved model and the images that it is for. What takes a model by its path begins here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoprune.common.errors import UserError
from evoprune.common.model_files import DESCRIPTION_NAME, Preprocessing
from evoprune.config import Experiment, load_experiment
from evoprune.data.dataset import Dataset
from evoprune.data.sources import DataSource
from evoprune.data.split import make_dataset
from evoprune.data.tensors import Data, place_data
from evoprune.runs.folder import CONFIG_NAME
from evoprune.runs.ownership import run_path


@dataclass(frozen=True)
class DataRequest:
    """Whose images are meant.

    Attributes:
        file: an experiment's YAML file or its name; None means the run in whose folder the model lies.
        overrides: `section.key=value` texts.
    """

    file: str | None = None
    overrides: Sequence[str] = ()

    def experiment(self, model: Path) -> Experiment | None:
        """The experiment whose section `data` holds for a model; None where no run is around it."""
        config = run_file(model, CONFIG_NAME)
        file = self.file or (str(config) if config is not None else None)
        return load_experiment(file, self.overrides) if file is not None else None


def known_preprocessing(dataset: Dataset) -> dict[str, Any]:
    """What images of a data set need, for a model that does not say it: `mean`, `std` and `image_size`."""
    _, height, width, _ = dataset.arrays.train[0].shape
    return {"mean": dataset.arrays.mean, "std": dataset.arrays.std, "image_size": (height, width)}


def run_file(model: Path, name: str) -> Path | None:
    """A file or folder of the run that a model belongs to; None where there is none.

    Named from here where the model is, so that it reads like what the user wrote.
    """
    around = (folder for folder in model.resolve().parents if (folder / CONFIG_NAME).is_file())
    found = next((folder / name for folder in around if (folder / name).exists()), None)
    if found is None or model.is_absolute() or not found.is_relative_to(Path.cwd()):
        return found
    return found.relative_to(Path.cwd())


def check_is_model(path: Path) -> None:
    """Refuse a path that cannot be a model, before anything is read or measured.

    Raises:
        UserError: nothing is there, or it is the folder of a run, or of something else.
    """
    if not path.exists():
        of_run = (path.parent.parent / CONFIG_NAME).is_file()  # where a run keeps its models
        hint = "; a run keeps there what it has trained: `evoprune retrain` trains other networks" if of_run else ""
        raise UserError(f"{path}: no such file or folder{hint}")
    if (path / CONFIG_NAME).is_file():
        raise UserError(f"{path}: the folder of a run; name a model in it, such as {path / 'models'}/KEY")
    if path.is_dir() and not (path / DESCRIPTION_NAME).is_file():
        raise UserError(f"{path}: no saved model; the folder of one has {DESCRIPTION_NAME}")


def check_outputs(outputs: Tensor, dataset: Dataset, path: Path) -> None:
    """Raise UserError where a network's outputs are not one for each class of the images."""
    shape, classes = tuple(outputs.shape), dataset.arrays.num_classes
    if len(shape) != 2 or shape[1] != classes:
        given = f"{shape[1]} outputs" if len(shape) == 2 else f"outputs of shape {shape}"
        raise UserError(f"--data: its images have {classes} classes; {path} has {given}")


def read_dataset(experiment: Experiment, model: Path) -> Dataset:
    """The images of an experiment, split; those of a folder are decoded beside the run of the model, or were there."""
    config = run_file(model, CONFIG_NAME)
    run = config.parent if config is not None else run_path(experiment, None)
    return make_dataset(DataSource(experiment.data, run.resolve().parent).read(), experiment.data)


def fitted_data(dataset: Dataset, preprocessing: Preprocessing, device: torch.device) -> Data:
    """Images that are prepared as a model's were when it was trained.

    Raises:
        UserError: images of another shape.
    """
    data = place_data(dataset.arrays, device)
    if data.train.image_shape != preprocessing.shape:
        came, wanted = data.train.image_shape, preprocessing.shape
        if came[1:] == wanted[1:]:
            raise UserError(f"--data: its images have {came[0]} channels; the model takes {wanted[0]}")
        shapes = ("x".join(map(str, shape)) for shape in (came, wanted))
        raise UserError("--data: its images are {} (channels, height, width); the model takes {}".format(*shapes))
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (preprocessing.mean, preprocessing.std)
    )
    return replace(data, mean=mean, std=std)
