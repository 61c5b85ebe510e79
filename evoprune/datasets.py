"""Where images come from: every source ends as uint8 NumPy arrays. No torch here; torchvision only to read CIFAR."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.config import DataConfig
from evoprune.errors import UserError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Part = tuple[Images, Labels]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class DataShape:
    """What a search space must know of a data set."""

    num_classes: int
    in_channels: int
    image_size: int


@dataclass(frozen=True)
class RawData:
    """Images uint8, shape (N, height, width, channels); labels int64, shape (N,).

    `validation` is the data set's own validation part, or None where it has none.
    """

    train: Part
    test: Part
    validation: Part | None
    num_classes: int


def load_raw_data(config: DataConfig) -> RawData:
    """Read the data set of an experiment.

    Raises:
        UserError: missing or malformed files, no network to download from, images that are not square.
    """
    raw = _READERS[config.dataset](config)
    if config.validation != "own" and isinstance(config.validation, str):
        raw = RawData(raw.train, raw.test, _foreign_validation(config.validation), raw.num_classes)
    for name, part in (("train", raw.train), ("test", raw.test), ("validation", raw.validation)):
        if part is not None:
            _check_part(name, part, raw)
    return raw


def split_train_validation(raw: RawData, config: DataConfig) -> tuple[Part, Part]:
    """Training and validation parts; the test part has no share in either.

    With a fraction, that share of every class of the training set is set aside, drawn with `split_seed`.
    """
    if isinstance(config.validation, str):
        if raw.validation is None:
            raise UserError(
                f"data.validation: got 'own', but {config.dataset} has no validation images; "
                "give a fraction such as 0.1"
            )
        return raw.train, raw.validation
    images, labels = raw.train
    held_out = _stratified(labels, config.validation, np.random.default_rng(config.split_seed))
    if not held_out.any() or held_out.all():
        raise UserError(f"data.validation: {config.validation} of {len(labels)} training images leaves an empty split")
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def _stratified(labels: Labels, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mask of shape (N,) that holds `fraction` of every class, rounded."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[: round(fraction * len(members))]] = True
    return mask


def _check_part(name: str, part: Part, raw: RawData) -> None:
    images, labels = part
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or not len(images):
        raise UserError(
            f"{name} images are uint8 (N, height, width, channels), one label each; "
            f"got {images.dtype} {images.shape}, {len(labels)} labels"
        )
    if images.shape[1:] != raw.train[0].shape[1:]:
        raise UserError(f"{name} images have shape {images.shape[1:]}, training images {raw.train[0].shape[1:]}")
    if images.shape[1] != images.shape[2]:
        raise UserError(f"images are square, got {images.shape[1]}x{images.shape[2]}")
    if labels.min() < 0 or labels.max() >= raw.num_classes:
        raise UserError(
            f"{name} labels are 0 to {raw.num_classes - 1}, as in the training set; "
            f"got {labels.min()} to {labels.max()}"
        )


def _read_torchvision(config: DataConfig) -> RawData:
    from torchvision import datasets

    source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[config.dataset]
    parts = []
    for train in (True, False):
        try:
            part: Any = source(config.root, train=train, download=True)
        except Exception as error:  # torchvision lets urllib's, zipfile's and its own errors through
            raise UserError(
                f"data.root: {config.dataset} is not in {config.root!r} and could not be downloaded "
                f"({type(error).__name__}: {error}); "
                "put the unpacked archive there, or set data.dataset: npz and data.root to an .npz archive"
            ) from None
        parts.append((np.asarray(part.data, dtype=np.uint8), np.asarray(part.targets, dtype=np.int64)))
    return RawData(parts[0], parts[1], None, {"cifar10": 10, "cifar100": 100}[config.dataset])


def _read_npz(config: DataConfig) -> RawData:
    train, test, validation = _npz_parts(config.root)
    return RawData(train, test, validation, int(train[1].max()) + 1)


def _npz_parts(path: str) -> tuple[Part, Part, Part | None]:
    """Training, test and (where it has one) validation part of an archive in MedMNIST's layout."""
    arrays = _open_npz(path, "data.root")
    missing = [name for name in ("train_images", "train_labels", "test_images", "test_labels") if name not in arrays]
    if missing:
        raise UserError(f"data.root: {path} has no {', '.join(missing)}; it has {', '.join(sorted(arrays))}")
    validation = _npz_part(arrays, "val", path) if "val_images" in arrays else None
    return _npz_part(arrays, "train", path), _npz_part(arrays, "test", path), validation


def _foreign_validation(path: str) -> Part:
    arrays = _open_npz(path, "data.validation")
    if not {"val_images", "val_labels"} <= set(arrays):
        raise UserError(f"data.validation: {path} has no val_images and val_labels; it has {', '.join(sorted(arrays))}")
    return _npz_part(arrays, "val", path)


def _open_npz(path: str, key: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise UserError(f"{key}: {path}: no such file; an .npz archive with train_images, train_labels, ... is wanted")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an .npz archive of several")
        with archive:
            return {name: archive[name] for name in archive.files if name.endswith(("_images", "_labels"))}
    except (ValueError, zipfile.BadZipFile, zlib.error, OSError) as error:
        raise UserError(f"{key}: {path}: not a NumPy archive of plain arrays: {error}") from None


def _npz_part(arrays: Any, name: str, path: str) -> Part:
    images, labels = arrays[f"{name}_images"], np.asarray(arrays[f"{name}_labels"])
    if not len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: {name}_images and whole-number {name}_labels; got {len(images)}, {labels.dtype}")
    if labels.size != len(labels):
        raise UserError(f"{path}: {name}_labels has shape {labels.shape}; one label per image is wanted")
    return (images[..., None] if images.ndim == 3 else images), labels.reshape(-1).astype(np.int64)


def _read_digits(config: DataConfig) -> RawData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = _hold_out_test((images, digits.target.astype(np.int64)))
    return RawData(train, test, None, 10)


def _hold_out_test(whole: Part) -> tuple[Part, Part]:
    """Training and test part of a data set that has no test part: a fixed, stratified fifth is for testing."""
    images, labels = whole
    held_out = _stratified(labels, 0.2, np.random.default_rng(0))
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def _read_image_folder(config: DataConfig) -> RawData:
    root, classes = Path(config.root), _class_folders(config)
    assert config.image_size is not None
    if not (root / "train").is_dir():
        train, test = _hold_out_test(_read_folder(root, classes, config.image_size))
        return RawData(train, test, None, len(classes))
    names = [name for name in ("train", "test", "val") if (root / name).is_dir()]
    parts = {name: _read_folder(root / name, classes, config.image_size) for name in names}
    return RawData(parts["train"], parts["test"], parts.get("val"), len(classes))


def _class_folders(config: DataConfig) -> list[str]:
    root = Path(config.root)
    if config.image_size is None:
        raise UserError("data.image_size is missing: images of a folder are resized to that many pixels a side")
    if not root.is_dir() or (root / "train").is_dir() != (root / "test").is_dir():
        raise UserError(
            f"data.root: {root} needs one folder per class, or train/ and test/ (and val/ if wanted) with these in each"
        )
    train = root / "train" if (root / "train").is_dir() else root
    classes = sorted(path.name for path in train.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise UserError(f"data.root: {train} needs one folder for each of at least 2 classes, got {classes}")
    return classes


def _read_folder(folder: Path, classes: list[str], side: int) -> Part:
    images, labels = [], []
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.parent.name not in classes:
            raise UserError(f"{path.parent}: not a class of the training folder ({', '.join(classes)})")
        images.append(_read_image(path, side))
        labels.append(classes.index(path.parent.name))
    if not images:
        raise UserError(f"{folder}: no images; {', '.join(sorted(IMAGE_SUFFIXES))} in one folder per class are read")
    return np.stack(images), np.array(labels, dtype=np.int64)


def _read_image(path: Path, side: int) -> Images:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from None


_READERS: dict[str, Callable[[DataConfig], RawData]] = {
    "cifar10": _read_torchvision,
    "cifar100": _read_torchvision,
    "digits": _read_digits,
    "image_folder": _read_image_folder,
    "npz": _read_npz,
}


_KNOWN_SHAPES = {
    "cifar10": DataShape(10, 3, 32),
    "cifar100": DataShape(100, 3, 32),
    "digits": DataShape(10, 1, 8),
}


def check_data_keys(config: DataConfig) -> None:
    """Find keys of `data` that cannot fit, without reading images.

    Raises:
        UserError: with the key.
    """
    channels = peek_shape(config).in_channels
    for key, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            raise UserError(f"data.{key}: one number per channel, so {channels}; got {len(given)}")
    if isinstance(config.validation, str) and config.validation != "own":
        _foreign_validation(config.validation)


def peek_shape(config: DataConfig) -> DataShape:
    """The shape of a data set, without downloading it or reading its images.

    Raises:
        UserError: the files that `data.root` names are not there.
    """
    if config.dataset in _KNOWN_SHAPES:
        return _KNOWN_SHAPES[config.dataset]
    if config.dataset == "npz":
        train, _, _ = _npz_parts(config.root)
        return DataShape(int(train[1].max()) + 1, train[0].shape[3], train[0].shape[1])
    return DataShape(len(_class_folders(config)), 3, config.image_size or 0)
