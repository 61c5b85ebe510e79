"""Where images come from: every source ends as uint8 arrays, or images in a file. torchvision only to read CIFAR."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import DataShape, Part, RawData
from evoprune.data.image_folder import ImageFolder
from evoprune.data.npz_files import Archive, open_npz
from evoprune.data.split import hold_out_test

_MOST_CLASSES = 10**6


class DataSource:
    """A data set of the user's. Whatever is asked of it, an archive is opened once until its images are read."""

    def __init__(self, config: DataConfig, beside: Path = Path("results")):
        """`beside` is the folder that decoded images lie in where `data.cache` names none."""
        self.config = config
        self._archives: dict[str, Archive] = {}
        self._beside = beside

    @cached_property
    def shape(self) -> DataShape:
        """The shape of the data set, without downloading it.

        Raises:
            UserError: the files that `data.root` names are not there.
        """
        config = self.config
        if config.dataset in _KNOWN_SHAPES:
            return _KNOWN_SHAPES[config.dataset]
        if config.dataset == "npz":
            train, _, _ = _npz_parts(self)
            _, height, width, channels = train[0].shape
            return DataShape(int(train[1].max()) + 1, channels, (height, width))
        classes = self.folder.classes
        assert config.image_size is not None
        return DataShape(len(classes), 3, config.image_size)

    def check(self) -> None:
        """Find keys of `data` that cannot fit, without downloading images.

        Raises:
            UserError: with the key.
        """
        for key, given in (("mean", self.config.mean), ("std", self.config.std)):
            if given is not None and len(given) != self.shape.in_channels:
                raise UserError(f"data.{key}: one number per channel, so {self.shape.in_channels}; got {len(given)}")
        if self._has_foreign_validation:
            _foreign_validation(self)

    def facts(self) -> list[str]:
        """What is to be said of the images before a run; those of a folder are decoded for it, and so checked.

        Raises:
            UserError: files that are no images, or no room for what is in them.
        """
        return self.folder.facts() if self.config.dataset == "image_folder" else []

    @cached_property
    def folder(self) -> ImageFolder:
        """The folder of images, where there is one."""
        cache = Path(self.config.cache) if self.config.cache is not None else self._beside / "image_cache"
        return ImageFolder(self.config, cache)

    def read(self) -> RawData:
        """Read all images.

        Raises:
            UserError: missing or malformed files, no network to download from.
        """
        raw = _READERS[self.config.dataset](self)
        if self._has_foreign_validation:
            raw = replace(raw, validation=_foreign_validation(self))
        self._archives.clear()
        for name, part in (("train", raw.train), ("test", raw.test), ("validation", raw.validation)):
            if part is not None:
                _check_part(name, part, raw)
        return raw

    def archive(self, path: str, key: str) -> Archive:
        """The arrays of an .npz file, by name; `key` names it in errors."""
        if path not in self._archives:
            self._archives[path] = open_npz(path, key)
        return self._archives[path]

    @property
    def _has_foreign_validation(self) -> bool:
        return isinstance(self.config.validation, str) and self.config.validation != "own"


def load_raw_data(config: DataConfig) -> RawData:
    """Read the data set of an experiment; raises what `DataSource.read` raises."""
    return DataSource(config).read()


def _check_part(name: str, part: Part, raw: RawData) -> None:
    images, labels = part
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or not len(images):
        raise UserError(
            f"{name} images are uint8 (N, height, width, channels), one label each; "
            f"got {images.dtype} {images.shape}, {len(labels)} labels"
        )
    if images.shape[1:] != raw.train[0].shape[1:]:
        raise UserError(f"{name} images have shape {images.shape[1:]}, training images {raw.train[0].shape[1:]}")
    if labels.min() < 0 or labels.max() >= raw.num_classes:
        raise UserError(
            f"{name} labels are 0 to {raw.num_classes - 1}, as in the training set; "
            f"got {labels.min()} to {labels.max()}"
        )


def _read_torchvision(source: DataSource) -> RawData:
    from torchvision import datasets

    config = source.config
    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[config.dataset]
    parts = []
    for train in (True, False):
        try:
            part: Any = dataset(config.root, train=train, download=True)
        except Exception as error:  # torchvision lets urllib's, zipfile's and its own errors through
            raise UserError(
                f"data.root: {config.dataset} is not in {config.root!r} and could not be downloaded "
                f"({type(error).__name__}: {error}); "
                "put the unpacked archive there, or set data.dataset: npz and data.root to an .npz archive"
            ) from None
        parts.append((np.asarray(part.data, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64)))
    return RawData(parts[0], parts[1], None, {"cifar10": 10, "cifar100": 100}[config.dataset], tuple(part.classes))


def _read_npz(source: DataSource) -> RawData:
    train, test, validation = _npz_parts(source)
    return RawData(train, test, validation, int(train[1].max()) + 1)


def _npz_parts(source: DataSource) -> tuple[Part, Part, Part | None]:
    """Training, test and (where it has one) validation part of an archive in MedMNIST's layout."""
    path = source.config.root
    arrays = source.archive(path, "data.root")
    wanted = ["train_images", "train_labels", "test_images", "test_labels"]
    wanted += ["val_labels"] if "val_images" in arrays else []
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise UserError(f"data.root: {path} has no {', '.join(missing)}; it has {', '.join(sorted(arrays))}")
    validation = _npz_part(arrays, "val", path) if "val_images" in arrays else None
    return _npz_part(arrays, "train", path), _npz_part(arrays, "test", path), validation


def _foreign_validation(source: DataSource) -> Part:
    path = str(source.config.validation)
    arrays = source.archive(path, "data.validation")
    if not {"val_images", "val_labels"} <= set(arrays):
        raise UserError(f"data.validation: {path} has no val_images and val_labels; it has {', '.join(sorted(arrays))}")
    return _npz_part(arrays, "val", path)


def _npz_part(arrays: Archive, name: str, path: str) -> Part:
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if images.ndim not in (3, 4) or not len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{path}: {name}_images has shape (N, height, width) or (N, height, width, channels), and {name}_labels "
            f"are whole numbers; got {images.shape}, {labels.dtype}"
        )
    if not images.size:
        raise UserError(f"{path}: {name}_images has shape {images.shape}; these are no pixels")
    if labels.ndim == 0 or not labels.size == len(labels) > 0:
        raise UserError(f"{path}: {name}_labels has shape {labels.shape}; one label per image is wanted")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= _MOST_CLASSES:
        raise UserError(
            f"{path}: {name}_labels are 0 to the number of classes - 1, at most {_MOST_CLASSES:,} classes; "
            f"got {least} to {most}"
        )
    return (images[..., None] if images.ndim == 3 else images), labels.reshape(-1).astype(np.int64)


def _read_digits(source: DataSource) -> RawData:
    pixels, labels = _digits()
    images = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    train, test = hold_out_test((images, labels.astype(np.int64)))
    return RawData(train, test, None, 10, tuple("0123456789"))


def _digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    """Pixels from 0 to 16 and labels, shapes (images, 64) and (images,), as `load_digits` reads them from its file.

    To import scikit-learn takes two seconds of each process, to read the file a tenth of one.
    """
    place = find_spec("sklearn")
    file = Path(place.origin).parent / "datasets/data/digits.csv.gz" if place and place.origin else Path()
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data, digits.target


def _read_folder(source: DataSource) -> RawData:
    return source.folder.read()


_READERS: dict[str, Callable[[DataSource], RawData]] = {
    "cifar10": _read_torchvision,
    "cifar100": _read_torchvision,
    "digits": _read_digits,
    "image_folder": _read_folder,
    "npz": _read_npz,
}
_KNOWN_SHAPES = {
    "cifar10": DataShape(10, 3, 32),
    "cifar100": DataShape(100, 3, 32),
    "digits": DataShape(10, 1, 8),
}
