"""Images from a folder of class folders: which files are images of which class, and what is said of the others."""

import os
import shutil

import numpy as np
import pytest
from helpers import SHARED_DATA
from made_data import folder_config, write_class_folders, write_folder
from PIL import Image

from evoprune import UserError
from evoprune.data.sources import DataSource, load_raw_data


def picture(path, value: int, size: tuple[int, int] = (5, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def values(part) -> list[int]:
    """The greys of a part's images."""
    return [int(image[2, 2, 0]) for image in np.asarray(part[0])]


def facts(config) -> list[str]:
    return DataSource(config).facts()


def test_a_folder_of_images_is_read_class_by_class(tmp_path):
    raw = load_raw_data(write_folder(tmp_path, ("train", "test", "val")))
    for index, part in enumerate((raw.train, raw.test, raw.validation)):
        assert part[0].shape == (6, 5, 5, 3)
        assert part[1].tolist() == [0, 0, 0, 1, 1, 1]
        colours = np.asarray(part[0])[:, 2, 2].tolist()
        assert colours == [[100 * k, 50 * index, n] for k in (0, 1) for n in range(3)]
    assert (raw.num_classes, raw.classes) == (2, ("cat", "dog"))


def test_images_of_any_size_and_mode_become_coloured_and_of_one_size(tmp_path):
    config = write_folder(tmp_path).model_copy(update={"image_size": (4, 7)})
    Image.new("L", (9, 3), 77).save(tmp_path / "train" / "cat" / "3.JPG")
    images, labels = load_raw_data(config).train
    assert images.shape == (7, 4, 7, 3) and labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert np.abs(np.asarray(images)[3].astype(int) - 77).max() <= 2


def test_nested_images_belong_to_the_class_above_and_nothing_hidden_is_seen(tmp_path):
    config = write_class_folders(tmp_path)
    for name in ("cat/2021/may/a.gif", "cat/2021/b.png", ".hidden/x.png", "cat/.thumbs/x.png", "cat/._0.png"):
        picture(tmp_path / name, 100)
    raw = load_raw_data(config)
    assert raw.classes == ("cat", "dog")
    assert np.bincount(np.concatenate([raw.train[1], raw.test[1]])).tolist() == [12, 10]


def test_links_within_a_class_are_followed_but_not_in_circles(tmp_path):
    config = write_class_folders(tmp_path)
    picture(tmp_path / "cat" / "more" / "x.png", 99)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "twice.png").symlink_to(tmp_path / "cat" / "more" / "x.png")
    raw = load_raw_data(config)
    assert np.bincount(np.concatenate([raw.train[1], raw.test[1]])).tolist() == [12, 10]


@pytest.mark.parametrize("place", ["train/cat/x.png", "train/cat/more", "train/bird", "test/cat/back"])
def test_a_link_out_of_a_class_is_refused_unless_that_is_meant(tmp_path, place):
    config = write_folder(tmp_path / "data")
    picture(tmp_path / "elsewhere" / "x.png", 99)
    link, target = tmp_path / "data" / place, tmp_path / "elsewhere"
    link.symlink_to(tmp_path / "data" if place.endswith("back") else target / "x.png" if "." in place else target)
    with pytest.raises(UserError, match=r"data\.root: .* is a link to .*; where that is meant, set data.follow_links"):
        load_raw_data(config)
    raw = load_raw_data(config.model_copy(update={"follow_links": True}))
    more = {"train/cat/x.png": 1, "train/cat/more": 1, "train/bird": 1, "test/cat/back": 0}[place]
    assert (len(raw.train[1]), len(raw.test[1])) == (6 + more, 6), "a link back to the root leads nowhere"


def test_a_pipe_is_no_image(tmp_path):
    config = write_class_folders(tmp_path)
    os.mkfifo(tmp_path / "cat" / "p.png")
    with pytest.raises(UserError, match=r"cat/p\.png: no regular file"):
        load_raw_data(config)


def test_images_and_classes_are_counted_aloud(tmp_path):
    assert facts(write_folder(tmp_path / "parts", ("train", "test", "val"))) == [
        "images: 6 for training, 6 for validation, 6 for testing, in 2 classes (cat, dog)"
    ]
    config = write_class_folders(tmp_path / "classes")
    for number in range(10):
        picture(tmp_path / "classes" / f"more{number}" / "0.png", 1)
        picture(tmp_path / "classes" / f"more{number}" / "1.png", 2)
    assert facts(config)[0].endswith(
        "in 12 classes (cat, dog, more0, more1, more2, more3, more4, more5, more6, more7, ...)"
    )


def test_what_is_ignored_is_said(tmp_path):
    config = write_folder(tmp_path)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    picture(tmp_path / "test" / "loose.png", 1)
    picture(tmp_path / "valid" / "cat" / "0.png", 1)
    assert facts(config)[1] == ("images: ignored in the folder: 3 (train/cat/notes.txt, test/loose.png, valid)")


def spoil(root) -> None:
    """Three files that are no images: an empty one, one with text, one that is cut off."""
    (root / "train" / "cat" / "0.png").write_bytes(b"")
    (root / "test" / "dog" / "1.png").write_text("x")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)).save(root / "whole.jpg")
    (root / "train" / "dog" / "cut.jpg").write_bytes((root / "whole.jpg").read_bytes()[:-700])
    (root / "whole.jpg").unlink()


def test_all_corrupt_files_are_named_and_counted(tmp_path):
    config = write_folder(tmp_path)
    spoil(tmp_path)
    for read in (load_raw_data, facts):
        with pytest.raises(UserError) as error:
            read(config)
        first, *files, last = str(error.value).splitlines()
        assert first == f"data.root: 3 of 13 files in {tmp_path} cannot be read as images:"
        assert [line.split(":")[0].strip() for line in files] == [
            "train/cat/0.png", "train/dog/cut.jpg", "test/dog/1.png"
        ]  # fmt: skip
        assert "data.skip_corrupt: true" in last


def test_corrupt_files_can_be_left_out(tmp_path):
    config = write_folder(tmp_path).model_copy(update={"skip_corrupt": True})
    spoil(tmp_path)
    raw = load_raw_data(config)
    assert np.asarray(raw.train[0])[:, 2, 2].tolist() == [[0, 0, 1], [0, 0, 2], *[[100, 0, n] for n in range(3)]]
    assert raw.train[1].tolist() == [0, 0, 1, 1, 1] and raw.test[1].tolist() == [0, 0, 0, 1, 1]
    assert facts(config)[1] == ("images: corrupt and left out: 3 (train/cat/0.png, train/dog/cut.jpg, test/dog/1.png)")


def test_a_class_of_corrupt_files_alone_is_refused_all_the_same(tmp_path):
    config = write_folder(tmp_path).model_copy(update={"skip_corrupt": True})
    for path in (tmp_path / "train" / "dog").iterdir():
        path.write_text("x")
    with pytest.raises(UserError, match="train: no images of dog"):
        load_raw_data(config)


def test_names_cannot_steer_the_terminal(tmp_path):
    config = write_class_folders(tmp_path)
    (tmp_path / "cat" / "\x1b[31mred\n.png").write_text("x")
    with pytest.raises(UserError) as error:
        load_raw_data(config)
    assert "cat/\\x1b[31mred\\n.png: " in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"data\.root: .*: no such folder$"),
        (lambda root: (root / "test").rename(root / "tset"), r"data\.root: .*train/ and test/"),
        (lambda root: (root / "test" / "cat").rename(root / "test" / "cow"), r"cow: not a class.*cat, dog"),
        (lambda root: [path.unlink() for path in root.glob("test/*/*")], "test: no images; "),
        (lambda root: (root / "train" / "elk").mkdir(), "train: no images of elk; "),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "train needs one folder for each of at least 2.*cat$"),
    ],
)
def test_a_wrong_folder_is_refused_with_its_reason(tmp_path, change, message):
    config = write_folder(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        load_raw_data(config)


def test_a_class_may_be_missing_in_the_tests(tmp_path):
    config = write_folder(tmp_path)
    shutil.rmtree(tmp_path / "test" / "cat")
    assert load_raw_data(config).test[1].tolist() == [1, 1, 1]
    assert facts(config)[1:] == ["images: none for testing of 1 of the classes (cat)"]


def test_a_folder_of_images_needs_their_size(tmp_path):
    config = write_folder(tmp_path).model_copy(update={"image_size": None})
    for read in (load_raw_data, lambda config: DataSource(config).shape):
        with pytest.raises(UserError, match=r"data\.image_size is missing"):
            read(config)


def test_a_folder_of_class_folders_alone_gives_a_fifth_for_testing(tmp_path):
    raw = load_raw_data(write_class_folders(tmp_path))
    assert np.bincount(raw.train[1]).tolist() == [8, 8] and np.bincount(raw.test[1]).tolist() == [2, 2]
    train, test = set(values(raw.train)), set(values(raw.test))
    assert train | test == {*range(10, 20), *range(200, 210)} and not train & test


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.root: .*one folder for each"):
        load_raw_data(folder_config(tmp_path))


def test_real_photographs_are_read_each_once(tmp_path):
    """2,062 JPEGs of hands in a folder for each digit, without a test part."""
    root = SHARED_DATA / "sign_digits"
    if not root.is_dir():
        pytest.skip("the real photographs are not beside this checkout")
    sizes = [len(list((root / str(digit)).glob("*.JPG"))) for digit in range(10)]
    raw = load_raw_data(folder_config(root, image_size=8, cache=str(tmp_path)))
    tests = [round(0.2 * size) for size in sizes]
    assert sum(sizes) == 2062 and np.bincount(raw.test[1]).tolist() == tests
    assert np.bincount(raw.train[1]).tolist() == [size - n for size, n in zip(sizes, tests, strict=True)]
    assert raw.train[0].shape[1:] == (8, 8, 3)
    assert len({image.tobytes() for part in (raw.train, raw.test) for image in np.asarray(part[0])}) > 2000


def test_parts_in_capitals_are_no_classes(tmp_path):
    """Once a network was trained to tell the test images from the training images."""
    write_folder(tmp_path, ("Train", "Test"))
    with pytest.raises(UserError, match=r"has Test, Train where class folders are looked for; .*rename them"):
        load_raw_data(folder_config(tmp_path))


def test_two_images_of_a_class_leave_none_for_tests(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (5, 5), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    with pytest.raises(UserError, match="data: test part: no images are left for it; more images of each class"):
        load_raw_data(folder_config(tmp_path))
