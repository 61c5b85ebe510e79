"""The parts of an `.npz` archive in MedMNIST's layout: `train_images`, `train_labels`, `test_images` and so on."""

import numpy as np

from evoprune.common.errors import UserError
from evoprune.data.dataset import Labels, Part, Pixels
from evoprune.data.npz_files import Archive

_MOST_CLASSES = 10**6


def npz_parts(arrays: Archive, place: str) -> dict[str, Part]:
    """Training and test part, and the validation part of an archive that has one, as `train`, `test`, `val`.

    Args:
        arrays: of the archive, by name.
        place: key and path of the archive, for errors.

    Raises:
        UserError: a part is missing or malformed, or a class has no training image.
    """
    parts = {name: npz_part(arrays, name, place) for name in ("train", "test")}
    if "val_images" in arrays:
        parts["val"] = npz_part(arrays, "val", place)
    _check_classes(parts["train"][1], place)
    return parts


def npz_part(arrays: Archive, name: str, place: str) -> Part:
    """Images (N, height, width, channels) and labels (N,) of one part; raises UserError where they are none."""
    missing = [array for array in (f"{name}_images", f"{name}_labels") if array not in arrays]
    if missing:
        raise UserError(f"{place} has no {', '.join(missing)}; it has {', '.join(sorted(arrays))}")
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    _check_images(images, f"{place}: {name}_images")
    _check_labels(labels, len(images), f"{place}: {name}_labels")
    return (images[..., None] if images.ndim == 3 else images), labels.reshape(-1).astype(np.int64)


def npz_fact(parts: dict[str, Part]) -> str:
    """How many images an archive has, of which size and in how many classes: mistakes are seen in it."""
    (images, labels), own = parts["train"], parts.get("val")
    _, height, width, channels = images.shape
    validation = f", {len(own[1]):,} of its own for validation" if own is not None else ""
    return (
        f"images: {len(labels):,} for training{validation}, {len(parts['test'][1]):,} for testing, {height} x {width} "
        f"pixels, {channels} channel{'s' * (channels > 1)}, {labels.max() + 1:,} classes"
    )


def _check_images(images: Pixels, name: str) -> None:
    if images.ndim not in (3, 4) or images.dtype != np.uint8:
        raise UserError(
            f"{name} are uint8 of shape (N, height, width) or (N, height, width, channels); "
            f"got {images.dtype} {images.shape}"
        )
    if not images.size:
        raise UserError(f"{name} has shape {images.shape}; these are no pixels")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[2] == images.shape[3] > 4:
        raise UserError(
            f"{name}: channels come last, (N, height, width, channels); got {images.shape}; where its second axis has "
            "the channels, store images.transpose(0, 2, 3, 1)"
        )


def _check_labels(labels: Labels, number: int, name: str) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{name} are whole numbers, one for each image; got {labels.dtype}")
    if labels.ndim == 0 or not labels.size == len(labels) == number:
        raise UserError(f"{name} has shape {labels.shape}; one label for each of the {number:,} images is wanted")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= _MOST_CLASSES:
        raise UserError(
            f"{name} are 0 to the number of classes - 1, at most {_MOST_CLASSES:,} classes; got {least} to {most}"
        )


def _check_classes(labels: Labels, place: str) -> None:
    found = np.unique(labels)
    if len(found) < 2 or len(found) <= found[-1]:
        without = np.setdiff1d(np.arange(found[-1] + 1), found)
        what = f"class {without[0]} has no training image" if len(without) else f"all are {found[0]}"
        raise UserError(
            f"{place}: train_labels number at least two classes from 0 on, without a gap; {what}; number them anew"
        )
