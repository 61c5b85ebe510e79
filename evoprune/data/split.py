"""Which images train, validate and test. numpy only."""

import zlib
from collections.abc import Iterator

import numpy as np

from evoprune.common.errors import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import Arrays, Dataset, Images, Part, Pixels, RawData
from evoprune.data.mapped import MappedImages

_IMAGES_AT_ONCE = 4096
_LEAST_VARIANCE = 1 / 255**2  # of less a channel says nothing, and what is padded would be thousands of it away


def make_dataset(raw: RawData, config: DataConfig) -> Dataset:
    """Split a data set as an experiment says: all that is done once, however many workers there are."""
    return Dataset(split_data(raw, config), contiguous(raw.test), _fingerprint(raw))


def _fingerprint(raw: RawData) -> tuple[int, ...]:
    """Checksums of the images and of the labels of each part, as they were before the split."""
    checksums = []
    for images, labels in filter(None, (raw.train, raw.test, raw.validation)):
        checksum = 0
        for some in _chunks(images):
            checksum = zlib.crc32(np.ascontiguousarray(some).data, checksum)
        checksums += [checksum, zlib.crc32(np.ascontiguousarray(labels).data)]
    return tuple(checksums)


def split_data(raw: RawData, config: DataConfig) -> Arrays:
    """Training and validation part, and the statistics of training pixels."""
    train, validation = (contiguous(part) for part in split_train_validation(raw, config))
    mean, std = _statistics(train, config)
    return Arrays(train, validation, mean, std, config.crop, config.flip, raw.num_classes, raw.classes)


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
    train, validation = _held_out(raw.train, config.validation, config.split_seed)
    if not len(train[1]) or not len(validation[1]):
        number = len(raw.train[1])
        raise UserError(f"data.validation: {config.validation} of {number} training images leaves an empty split")
    return train, validation


def _held_out(whole: Part, fraction: float, seed: int) -> tuple[Part, Part]:
    """What stays of a part, and `fraction` of every class of it, rounded, drawn by `seed`; both in their order."""
    images, labels = whole
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[: round(fraction * len(members))]] = True
    return (images[~mask], labels[~mask]), (images[mask], labels[mask])


def hold_out_test(whole: Part) -> tuple[Part, Part]:
    """Training and test part of a data set that has no test part: a fixed, stratified fifth is for testing."""
    return _held_out(whole, 0.2, seed=0)


def contiguous(part: Part) -> Part:
    """The same images and labels as processes can share them: whole blocks of memory, or images in a file."""
    images, labels = part
    return images if isinstance(images, MappedImages) else np.ascontiguousarray(images), np.ascontiguousarray(labels)


def _statistics(train: Part, config: DataConfig) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel in [0, 1]: the configured ones, or those of the training split."""
    images, channels = train[0], train[0].shape[3]
    for key, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            raise UserError(f"data.{key}: one number per channel, so {channels}; got {len(given)}")
    counts = np.zeros((channels, 256), dtype=np.int64)
    for some in _chunks(images):
        counts += [np.bincount(some[..., c].reshape(-1), minlength=256) for c in range(channels)]
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    variance = counts @ values**2 / counts.sum(axis=1) - mean**2
    std = np.where(variance < _LEAST_VARIANCE, 1.0, np.sqrt(np.maximum(variance, 0.0)))
    return list(config.mean or mean), list(config.std or std)


def _chunks(images: Images) -> Iterator[Pixels]:
    """The images some at a time: counting needs eight times their memory."""
    if isinstance(images, MappedImages):
        return images.chunks()
    return (images[first : first + _IMAGES_AT_ONCE] for first in range(0, len(images), _IMAGES_AT_ONCE))
