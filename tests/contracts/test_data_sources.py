"""One contract for every source of images.

Names what it tests: evoprune.data.sources, evoprune.data.image_folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from helpers import load_data
from made_data import CPU, npz, validation_arrays, write_cifar, write_class_folders, write_folder, write_npz

from evoprune import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import DataShape
from evoprune.data.sources import DataSource, load_raw_data
from evoprune.data.split import make_dataset

WIDE = {
    "train_images": np.arange(720, dtype=np.uint16).astype(np.uint8).reshape(12, 4, 5, 3),
    "test_images": np.zeros((6, 4, 5, 3), np.uint8),
}
GREY = {
    "train_images": np.arange(432, dtype=np.uint16).astype(np.uint8).reshape(12, 6, 6),
    "test_images": np.zeros((6, 6, 6), np.uint8),
}
SOURCES: dict[str, tuple[Callable[[Path], DataConfig], DataShape]] = {
    "digits": (lambda folder: DataConfig(dataset="digits"), DataShape(10, 1, 8)),
    "npz": (lambda folder: npz(write_npz(folder)), DataShape(3, 3, 4)),
    "npz with validation": (lambda folder: npz(write_npz(folder, **validation_arrays(200))), DataShape(3, 3, 4)),
    "grey npz": (lambda folder: npz(write_npz(folder, **GREY)), DataShape(3, 1, 6)),
    "wide npz": (lambda folder: npz(write_npz(folder, **WIDE)), DataShape(3, 3, (4, 5))),
    "folder": (write_folder, DataShape(2, 3, 5)),
    "folder with validation": (lambda folder: write_folder(folder, ("train", "test", "val")), DataShape(2, 3, 5)),
    "folder of classes": (write_class_folders, DataShape(2, 3, 5)),
    "tall folder": (
        lambda folder: write_class_folders(folder).model_copy(update={"image_size": (7, 3)}),
        DataShape(2, 3, (7, 3)),
    ),
    "cifar10": (lambda folder: write_cifar(folder, "cifar10", copies=2), DataShape(10, 3, 32)),
    "cifar100": (lambda folder: write_cifar(folder, "cifar100", copies=2), DataShape(100, 3, 32)),
}
"""Name -> what writes it and returns its section `data`, and its shape."""


@pytest.fixture(params=SOURCES)
def source(request, tmp_path, monkeypatch) -> tuple[DataConfig, DataShape]:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)  # our bytes
    write, shape = SOURCES[request.param]
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data"), shape


def same_parts(first, second) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_this_contract_knows_every_source(tmp_path):
    kinds = set()
    for name, (write, _) in SOURCES.items():
        (tmp_path / name).mkdir()
        kinds.add(write(tmp_path / name).dataset)
    assert kinds == set(get_args(DataConfig.model_fields["dataset"].annotation))


def test_the_shape_that_is_told_is_the_shape_that_is_read(source):
    config, shape = source
    assert DataSource(config).shape == shape
    raw = load_raw_data(config)
    assert raw.num_classes == shape.num_classes
    assert raw.train[0].shape[1:] == (*shape.height_width, shape.in_channels)
    assert raw.classes is None or len(raw.classes) == raw.num_classes


def test_images_are_bytes_and_every_image_has_a_label_of_a_class(source):
    config, shape = source
    raw = load_raw_data(config)
    for part in filter(None, (raw.train, raw.test, raw.validation)):
        images, labels = part
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert images.shape == (len(labels), *raw.train[0].shape[1:]) and len(labels) > 0
        assert labels.min() >= 0 and labels.max() < shape.num_classes


def test_the_same_source_is_the_same_images_whatever_was_asked_before(source):
    config, _ = source
    asked = DataSource(config)
    asked.check()
    assert asked.shape
    first, second = asked.read(), load_raw_data(config.model_copy(update={"split_seed": 7}))
    for one, other in ((first.train, second.train), (first.test, second.test)):
        assert same_parts(one, other)
    assert (first.validation is None) is (second.validation is None)
    again = asked.read()
    assert same_parts(again.train, first.train)


def test_no_test_image_reaches_training_or_validation(source):
    """Labels apart: what training and validation have is what the training part has."""
    config, _ = source
    config = config.model_copy(update={"validation": 0.5})
    raw = load_raw_data(config)
    dataset = make_dataset(raw, config)
    together = np.concatenate([dataset.arrays.train[0], dataset.arrays.validation[0]])
    assert sorted(map(bytes, together)) == sorted(map(bytes, np.ascontiguousarray(raw.train[0])))
    assert same_parts(dataset.test, raw.test)


def test_one_mean_and_deviation_per_channel_is_asked_for_before_anything_is_read(source):
    config, shape = source
    for key in ("mean", "std"):
        right, wrong = ((0.5,) * number for number in (shape.in_channels, shape.in_channels + 1))
        DataSource(config.model_copy(update={key: right})).check()
        with pytest.raises(UserError, match=rf"data\.{key}: one number per channel, so {shape.in_channels}; got"):
            DataSource(config.model_copy(update={key: wrong})).check()


def test_validation_images_may_come_from_an_archive(source, tmp_path):
    config, shape = source
    images = np.full((3, *shape.height_width, shape.in_channels), 99, np.uint8)
    np.savez(tmp_path / "v.npz", val_images=images, val_labels=np.array([0, 1, 0]))
    foreign = config.model_copy(update={"validation": str(tmp_path / "v.npz")})
    asked = DataSource(foreign)
    asked.check()
    raw = asked.read()
    assert same_parts(raw.validation, (images, [0, 1, 0]))
    assert same_parts(raw.train, load_raw_data(config).train)

    np.savez(tmp_path / "v.npz", val_images=images[:, :-1, :-1], val_labels=np.array([0, 1, 0]))
    with pytest.raises(UserError, match="validation images have shape"):
        load_raw_data(foreign)
    np.savez(tmp_path / "v.npz", val_images=images, val_labels=np.array([0, 1, shape.num_classes]))
    with pytest.raises(UserError, match=f"validation labels are 0 to {shape.num_classes - 1}"):
        load_raw_data(foreign)


def test_a_network_gets_channels_first(source):
    config, shape = source
    config = config.model_copy(update={"validation": 0.5, "crop": 1})
    data = load_data(config, CPU)
    assert data.train.image_shape == data.validation.image_shape == (shape.in_channels, *shape.height_width)
    assert data.num_classes == shape.num_classes
    images, labels = data.train.batch(torch.arange(len(data.train)))
    assert images.shape == (len(labels), *data.train.image_shape)
