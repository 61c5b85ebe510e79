"""Images from a folder of class folders."""

from pathlib import Path

import numpy as np

from evoprune.common.errors import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import Images, Part, RawData
from evoprune.data.split import hold_out_test

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


def read_image_folder(config: DataConfig) -> RawData:
    """Read a folder of class folders, or of `train/`, `test/` and maybe `val/` with class folders in each."""
    root, classes = Path(config.root), class_folders(config)
    assert config.image_size is not None
    if not (root / "train").is_dir():
        train, test = hold_out_test(_read_folder(root, classes, config.image_size))
        return RawData(train, test, None, len(classes))
    names = [name for name in ("train", "test", "val") if (root / name).is_dir()]
    parts = {name: _read_folder(root / name, classes, config.image_size) for name in names}
    return RawData(parts["train"], parts["test"], parts.get("val"), len(classes))


def class_folders(config: DataConfig) -> list[str]:
    """Names of the classes, in order.

    Raises:
        UserError: `data.image_size` is missing, or the folders are not as they should be.
    """
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
