"""Images from a folder of class folders."""

import numpy as np
import pytest
from helpers import SHARED_DATA
from made_data import write_class_folders, write_folder
from PIL import Image

from evoprune import UserError
from evoprune.config import DataConfig
from evoprune.data.sources import DataSource, load_raw_data


def test_a_folder_of_images_is_read_class_by_class(tmp_path):
    raw = load_raw_data(write_folder(tmp_path, ("train", "test", "val")))
    for index, part in enumerate((raw.train, raw.test, raw.validation)):
        assert part[0].shape == (6, 5, 5, 3)
        assert part[1].tolist() == [0, 0, 0, 1, 1, 1]
        assert part[0][:, 2, 2].tolist() == [[100 * k, 50 * index, n] for k in (0, 1) for n in range(3)]
    assert raw.num_classes == 2


def test_images_of_any_size_and_mode_become_square_and_coloured(tmp_path):
    config = write_folder(tmp_path)
    Image.new("L", (9, 3), 77).save(tmp_path / "train" / "cat" / "3.JPG")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    images, labels = load_raw_data(config).train
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert np.abs(images[3].astype(int) - 77).max() <= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "test").rename(root / "tset"), r"data\.root: .*train/ and test/"),
        (lambda root: (root / "test" / "cat").rename(root / "test" / "cow"), r"cow: not a class.*cat, dog"),
        (lambda root: [path.unlink() for path in root.glob("test/*/*")], "test: no images"),
        (lambda root: (root / "train" / "cat" / "0.png").write_text("x"), r"0\.png: cannot be read as an image"),
    ],
)
def test_a_wrong_folder_is_refused_with_its_reason(tmp_path, change, message):
    config = write_folder(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        load_raw_data(config)


def test_a_folder_of_images_needs_their_size(tmp_path):
    config = write_folder(tmp_path).model_copy(update={"image_size": None})
    for read in (load_raw_data, lambda config: DataSource(config).shape):
        with pytest.raises(UserError, match=r"data\.image_size is missing"):
            read(config)


def test_a_folder_of_class_folders_alone_gives_a_fifth_for_testing(tmp_path):
    raw = load_raw_data(write_class_folders(tmp_path))
    assert np.bincount(raw.train[1]).tolist() == [8, 8] and np.bincount(raw.test[1]).tolist() == [2, 2]
    pixels = [{int(image[0, 0, 0]) for image in part[0]} for part in (raw.train, raw.test)]
    assert pixels[0] | pixels[1] == {*range(10, 20), *range(200, 210)} and not pixels[0] & pixels[1]


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.root: .*one folder for each"):
        load_raw_data(DataConfig(dataset="image_folder", root=str(tmp_path), image_size=5))


def test_real_photographs_are_read_each_once():
    """2,062 JPEGs of hands in a folder for each digit, without a test part."""
    root = SHARED_DATA / "sign_digits"
    if not root.is_dir():
        pytest.skip("the real photographs are not beside this checkout")
    sizes = [len(list((root / str(digit)).glob("*.JPG"))) for digit in range(10)]
    raw = load_raw_data(DataConfig(dataset="image_folder", root=str(root), image_size=8))
    tests = [round(0.2 * size) for size in sizes]
    assert sum(sizes) == 2062 and np.bincount(raw.test[1]).tolist() == tests
    assert np.bincount(raw.train[1]).tolist() == [size - n for size, n in zip(sizes, tests, strict=True)]
    assert raw.train[0].shape[1:] == (8, 8, 3)
