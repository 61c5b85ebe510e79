"""Archives in MedMNIST's layout: what cannot be meant is refused with its reason."""

import numpy as np
import pytest
from made_data import make_arrays, npz, validation_arrays, write_npz

from evoprune import UserError
from evoprune.data.npz_parts import npz_fact, npz_parts
from evoprune.data.sources import DataSource, load_raw_data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": None}, r"d\.npz has no train_labels; it has test_images"),
        ({"train_images": np.zeros((12, 4, 4, 3))}, "train_images are uint8.*float64"),
        ({"test_images": np.zeros((6, 5, 5, 3), np.uint8)}, r"test images have shape \(5, 5, 3\)"),
        ({"test_images": np.zeros((6, 4, 4, 1), np.uint8)}, r"test images have shape \(4, 4, 1\)"),
        ({"test_labels": np.arange(6)}, r"test labels are 0 to 2.*got 0 to 5"),
        ({"train_labels": -np.ones(12, int)}, r"d\.npz: train_labels are 0 to .*got -1 to -1"),
        (
            {"train_labels": np.full(12, 2**64 - 1, np.uint64)},
            r"d\.npz: train_labels are 0 to .*got 18446744073709551615",
        ),
        ({"train_images": np.zeros((12, 0, 4, 3), np.uint8)}, r"train_images has shape .*these are no pixels"),
        ({"train_labels": np.zeros(11, int)}, r"train_labels has shape \(11,\); one label for each of the 12"),
        ({"train_labels": np.zeros((12, 14), int)}, r"train_labels has shape \(12, 14\); one label for each"),
        ({"train_labels": np.linspace(0, 2, 12)}, "labels"),
        ({"train_images": np.zeros((0, 4, 4, 3), np.uint8), "train_labels": np.zeros(0, int)}, "train"),
        ({"train_labels": np.array([None] * 12, dtype=object)}, r"d\.npz"),
        (
            {"train_images": np.zeros((12, 16), np.uint8)},
            r"train_images are uint8 of shape \(N, .*got uint8 \(12, 16\)",
        ),
        ({"test_images": np.uint8(3)}, r"test_images are uint8 of shape \(N, .*got uint8 \(\)"),
        ({"train_labels": np.int64(3)}, r"train_labels has shape \(\); one label for each"),
        ({"train_labels": np.zeros(0, int)}, r"train_labels has shape \(0,\); one label for each"),
        ({"val_images": np.zeros((2, 4, 4, 3), np.uint8)}, r"d\.npz has no val_labels; it has test_images"),
        ({"train_images": np.zeros((12, 3, 8, 8), np.uint8)}, r"channels come last, .*transpose\(0, 2, 3, 1\)"),
        ({"test_images": np.zeros((6, 1, 8, 8), np.uint8)}, "test_images: channels come last"),
        ({"train_labels": np.zeros(12, int)}, "at least two classes from 0 on, without a gap; all are 0"),
        ({"train_labels": np.arange(12) % 3 + 1}, "without a gap; class 0 has no training image; number them anew"),
        ({"train_labels": np.arange(12) % 3 * 500}, "class 1 has no training image"),
    ],
)
def test_a_wrong_archive_is_refused_with_its_reason(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_raw_data(npz(write_npz(tmp_path, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((12, 16), np.uint8)},
        {"train_images": np.uint8(3)},
        {"train_labels": None},
        {"train_labels": np.zeros(0, int)},
        {"val_images": np.zeros((2, 4, 4, 3), np.uint8)},
    ],
)
def test_an_archive_without_a_shape_is_refused_before_it_is_read(tmp_path, changes):
    source = DataSource(npz(write_npz(tmp_path, **changes), mean=(0.5, 0.5, 0.5)))
    with pytest.raises(UserError, match=r"d\.npz"):
        source.shape  # noqa: B018
    with pytest.raises(UserError, match=r"d\.npz"):
        source.check()


def test_images_of_few_rows_and_many_channels_are_no_channels_first():
    for shape in ((12, 3, 3, 200), (12, 1, 50, 8), (12, 3, 4, 4)):
        parts = npz_parts(make_arrays(train_images=np.zeros(shape, np.uint8)), "here")
        assert parts["train"][0].shape == shape


def test_a_line_says_what_an_archive_has(tmp_path):
    arrays = make_arrays(**validation_arrays(200))
    assert npz_fact(npz_parts(arrays, "here")) == (
        "images: 12 for training, 2 of its own for validation, 6 for testing, 4 x 4 pixels, 3 channels, 3 classes"
    )
    grey = {name: array[..., 0] for name, array in make_arrays().items() if name.endswith("images")}
    (line,) = DataSource(npz(write_npz(tmp_path, **grey))).facts()
    assert line == "images: 12 for training, 6 for testing, 4 x 4 pixels, 1 channel, 3 classes"
    few = {"test_labels": np.ones(6, int), "val_images": np.zeros((2, 4, 4, 3), np.uint8), "val_labels": np.arange(2)}
    lines = [
        "images: none for testing of 2 of the classes (0, 2)",
        "images: none for validation of 1 of the classes (2)",
    ]
    assert DataSource(npz(write_npz(tmp_path, **few), validation="own")).facts()[1:] == lines
    assert DataSource(npz(write_npz(tmp_path, **few), validation=0.2)).facts()[1:] == lines[:1]
