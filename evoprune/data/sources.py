"""Where images come from: every source ends as uint8 arrays, or images in a file. torchvision only to read CIFAR."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import NotAtHandError, UserError, some
from evoprune.config import DataConfig
from evoprune.data.dataset import DataShape, Part, RawData
from evoprune.data.image_folder import ImageFolder
from evoprune.data.npz_files import Archive, open_npz
from evoprune.data.npz_parts import npz_fact, npz_part, npz_parts
from evoprune.data.split import hold_out_test


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
            images, labels = self.archive_parts["train"]
            _, height, width, channels = images.shape
            return DataShape(int(labels.max()) + 1, channels, (height, width))
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
            self._foreign_validation()

    def facts(self) -> list[str]:
        """What is to be said of the user's own images before a run; those of a folder are decoded for it.

        Raises:
            UserError: files that are no images, or no room for what is in them.
        """
        if self.config.dataset in _KNOWN_SHAPES:
            return []
        lines = self.folder.facts() if self.config.dataset == "image_folder" else [npz_fact(self.archive_parts)]
        raw = self._parts()
        validation = raw.validation if isinstance(self.config.validation, str) else None
        return [*lines, *_lacking("testing", raw.test, raw), *_lacking("validation", validation, raw)]

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
        raw = self._parts()
        self._archives.clear()
        for name, part in (("training", raw.train), ("test", raw.test), ("validation", raw.validation)):
            if part is not None:
                _check_part(f"data: {name}", part, raw)
        return raw

    def _parts(self) -> RawData:
        raw = _READERS[self.config.dataset](self)
        return replace(raw, validation=self._foreign_validation()) if self._has_foreign_validation else raw

    @property
    def archive_parts(self) -> dict[str, Part]:
        """The parts of the archive that `data.root` names."""
        return npz_parts(self._archive(self.config.root, "data.root"), f"data.root: {self.config.root}")

    def _foreign_validation(self) -> Part:
        path = str(self.config.validation)
        return npz_part(self._archive(path, "data.validation"), "val", f"data.validation: {path}")

    def _archive(self, path: str, key: str) -> Archive:
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
    """Raise UserError where a part has no image, or does not go with the training part."""
    images, labels = part
    if not len(images):
        raise UserError(f"{name} part: no images are left for it; more images of each class are wanted")
    if images.shape[1:] != raw.train[0].shape[1:]:
        raise UserError(f"{name} images have shape {images.shape[1:]}, training images {raw.train[0].shape[1:]}")
    if labels.min() < 0 or labels.max() >= raw.num_classes:
        raise UserError(
            f"{name} labels are 0 to {raw.num_classes - 1}, as in the training set; "
            f"got {labels.min()} to {labels.max()}"
        )


def _lacking(purpose: str, part: Part | None, raw: RawData) -> list[str]:
    """A line where a part has classes without images: that may be meant, and no accuracy tells of it."""
    if part is None:
        return []
    names = raw.classes or tuple(map(str, range(raw.num_classes)))
    missing = [names[label] for label in sorted(set(range(raw.num_classes)) - set(part[1].tolist()))]
    return [f"images: none for {purpose} of {len(missing):,} of the classes ({some(missing)})"] if missing else []


def _read_torchvision(source: DataSource) -> RawData:
    from torchvision import datasets

    config = source.config
    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[config.dataset]
    parts = []
    for train in (True, False):
        try:
            part: Any = dataset(config.root, train=train, download=True)
        except Exception as error:  # torchvision lets urllib's, zipfile's and its own errors through
            raise NotAtHandError(
                f"data.root: {config.dataset} is not in {config.root!r} and could not be downloaded "
                f"({type(error).__name__}: {error}); "
                "put the unpacked archive there, or set data.dataset: npz and data.root to an .npz archive"
            ) from None
        parts.append((np.asarray(part.data, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64)))
    return RawData(parts[0], parts[1], None, {"cifar10": 10, "cifar100": 100}[config.dataset], tuple(part.classes))


def _read_npz(source: DataSource) -> RawData:
    parts = source.archive_parts
    return RawData(parts["train"], parts["test"], parts.get("val"), source.shape.num_classes)


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
