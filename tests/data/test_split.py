"""Splits that keep test images out, and statistics of the training split alone."""

from dataclasses import replace

import numpy as np
import pytest
from made_data import CLASS_SIZES, ids, make_raw, plain_config

from evoprune import UserError
from evoprune.data.dataset import RawData
from evoprune.data.mapped import MappedImages
from evoprune.data.split import hold_out_test, make_dataset, split_data, split_train_validation


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.2, [2, 1, 1]), (0.1, [1, 0, 0]), (0.4, [4, 2, 2]), (0.75, [8, 4, 3])]
)
def test_every_class_gives_its_share_to_validation(fraction, counts):
    """10, 5 and 4 images; 0.75 of 10 is 7.5 and of 5 is 3.75; round half to even."""
    train, validation = split_train_validation(make_raw(), plain_config(validation=fraction))
    assert np.bincount(validation[1], minlength=3).tolist() == counts
    left = [size - n for size, n in zip(CLASS_SIZES, counts, strict=True)]
    assert np.bincount(train[1], minlength=3).tolist() == left


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_image_and_lose_none(seed):
    raw = make_raw()
    (train, train_labels), (validation, labels) = split_train_validation(raw, plain_config(split_seed=seed))
    assert sorted([*ids(train), *ids(validation)]) == list(range(19))
    for images, own in ((train, train_labels), (validation, labels)):
        assert own.tolist() == raw.train[1][ids(images)].tolist(), "an image lost its label"


def test_the_split_follows_its_seed():
    raw, configs = make_raw(), [plain_config(split_seed=seed) for seed in (0, 0, 1, 2, 3)]
    parts = [frozenset(ids(split_train_validation(raw, config)[1][0])) for config in configs]
    assert parts[0] == parts[1]
    assert len(set(parts)) > 2


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_an_empty_split_is_refused(fraction):
    with pytest.raises(UserError, match=r"data\.validation: .*19 training images.*empty"):
        split_train_validation(make_raw(), plain_config(validation=fraction))


def test_splits_are_whole_blocks_of_memory_whatever_the_archive_held():
    raw = make_raw(channels=3)
    own = RawData((np.asfortranarray(raw.train[0]), raw.train[1]), raw.test, (raw.test[0][::2], raw.test[1][::2]), 3)
    arrays = split_data(own, plain_config(validation="own"))
    for images, labels in (arrays.train, arrays.validation):
        assert images.flags.c_contiguous and labels.flags.c_contiguous
    np.testing.assert_array_equal(arrays.train[0], raw.train[0])


def test_statistics_are_those_of_the_training_split_alone():
    arrays = split_data(make_raw(channels=3), plain_config())
    train = arrays.train[0] / 255
    np.testing.assert_allclose(arrays.mean, train.mean((0, 1, 2)), atol=1e-9)
    np.testing.assert_allclose(arrays.std, train.std((0, 1, 2)), atol=1e-9)


def test_a_channel_without_variance_is_not_blown_up():
    raw = make_raw(channels=4)
    raw.train[0][..., 3] = 255
    raw.train[0][0, 0, 0, 3] = 254
    arrays = split_data(raw, plain_config())
    assert arrays.std[3] == 1.0 and min(arrays.std[:3]) < 0.5


def test_given_statistics_are_taken_as_they_are():
    arrays = split_data(make_raw(), plain_config(mean=[0.25], std=[0.75]))
    assert (arrays.mean, arrays.std) == ([0.25], [0.75])


@pytest.mark.parametrize("key", ["mean", "std"])
def test_one_number_per_channel(key):
    with pytest.raises(UserError, match=rf"data\.{key}: one number per channel, so 3; got 1"):
        split_data(make_raw(channels=3), plain_config(**{key: (0.5,)}))


def test_the_fifth_that_is_held_out_for_tests_is_stratified_and_always_the_same():
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    images = np.arange(35, dtype=np.uint8)[:, None, None, None]
    train, test = hold_out_test((images, labels))
    assert np.bincount(test[1]).tolist() == [4, 2, 1]
    assert sorted([*ids(train[0]), *ids(test[0])]) == list(range(35))
    assert all((part[1] == labels[ids(part[0])]).all() for part in (train, test))
    assert ids(hold_out_test((images, labels))[1][0]) == ids(test[0])


def test_what_workers_share_has_no_test_image():
    dataset = make_dataset(make_raw(), plain_config())
    assert sorted([*ids(dataset.arrays.train[0]), *ids(dataset.arrays.validation[0])]) == list(range(19))
    assert ids(dataset.test[0]) == [200, 201, 202, 203, 204, 205]


@pytest.mark.parametrize("part", ["train", "test", "validation"])
def test_a_fingerprint_tells_data_sets_apart_by_any_image_or_label_and_not_by_their_split(part):
    raw = replace(make_raw(), validation=(make_raw().test[0] + 1, make_raw().test[1]))
    first = make_dataset(raw, plain_config()).fingerprint
    assert make_dataset(raw, plain_config(split_seed=1, crop=2)).fingerprint == first
    images, labels = (array.copy() for array in getattr(raw, part))
    images[-1, -1, -1, -1] += 1
    labels[1] = (labels[1] + 1) % 3
    old_images, old_labels = getattr(raw, part)
    same = (np.asfortranarray(old_images), old_labels)
    for changed, is_same in ((same, True), ((images, old_labels), False), ((old_images, labels), False)):
        fingerprint = make_dataset(replace(raw, **{part: changed}), plain_config()).fingerprint
        assert (fingerprint == first) is is_same


def test_images_in_a_file_have_the_fingerprint_of_those_in_memory(tmp_path):
    raw = make_raw()
    images, labels = raw.train
    np.save(tmp_path / "images.npy", images)
    mapped = replace(raw, train=(MappedImages(tmp_path / "images.npy", np.arange(len(images))), labels))
    assert make_dataset(mapped, plain_config()).fingerprint == make_dataset(raw, plain_config()).fingerprint


def test_the_names_of_classes_go_with_the_images():
    raw = replace(make_raw(), classes=("a", "b", "c"))
    assert split_data(raw, plain_config()).classes == ("a", "b", "c")
    assert split_data(make_raw(), plain_config()).classes is None
