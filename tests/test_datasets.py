"""Every source ends as the same uint8 arrays; what is malformed is refused; the search sees no test image."""

import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from evoprune import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import DataShape
from evoprune.data.sources import load_raw_data, peek_shape
from evoprune.data.split import split_train_validation


def make_arrays(**changes: object) -> dict[str, np.ndarray]:
    """MedMNIST's layout: 12 training, 6 test images, 4x4 RGB, 3 classes; the first pixel numbers the image."""
    arrays = {}
    for name, size, first in (("train", 12, 0), ("test", 6, 100)):
        arrays[f"{name}_images"] = np.zeros((size, 4, 4, 3), dtype=np.uint8)
        arrays[f"{name}_images"][:, 0, 0, 0] = np.arange(first, first + size)
        arrays[f"{name}_labels"] = (np.arange(size) % 3).astype(np.uint8)
    arrays |= {name: np.asarray(value) for name, value in changes.items() if value is not None}
    return {name: value for name, value in arrays.items() if changes.get(name, value) is not None}


def write_npz(folder: Path, name: str = "d.npz", **changes: object) -> str:
    np.savez(folder / name, **make_arrays(**changes))
    return str(folder / name)


def npz(root: str, **keys: object) -> DataConfig:
    return DataConfig(dataset="npz", root=root, **keys)


def ids(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


# --- digits


def test_digits_are_scikit_learns_each_once_scaled_to_a_byte():
    raw, source = load_raw_data(DataConfig(dataset="digits")), load_digits()
    images = np.concatenate([raw.train[0], raw.test[0]])
    labels = np.concatenate([raw.train[1], raw.test[1]])
    assert images.shape == (1797, 8, 8, 1)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    rows = sorted(
        (*np.rint(image.ravel() / 255 * 16).astype(int).tolist(), int(k))
        for image, k in zip(images, labels, strict=True)
    )
    assert rows == sorted((*map(int, row), int(k)) for row, k in zip(source.data, source.target, strict=True))
    assert images.max() == 255


def test_a_fifth_of_every_digit_is_for_tests_and_always_the_same_one():
    first, second = (load_raw_data(DataConfig(dataset="digits", split_seed=seed)) for seed in (0, 1))
    sizes = np.bincount(load_digits().target)
    assert np.bincount(first.test[1]).tolist() == [round(0.2 * int(size)) for size in sizes]
    assert np.array_equal(first.test[0], second.test[0])


# --- .npz


def test_an_archive_is_read_as_it_is(tmp_path):
    raw = load_raw_data(npz(write_npz(tmp_path)))
    wanted = make_arrays()
    assert np.array_equal(raw.train[0], wanted["train_images"])
    assert raw.train[1].tolist() == [0, 1, 2] * 4
    assert raw.train[1].dtype == np.int64
    assert ids(raw.test[0]) == list(range(100, 106))
    assert (raw.validation, raw.num_classes) == (None, 3)


def test_medmnist_columns_of_labels_and_grey_images_are_read(tmp_path):
    arrays = make_arrays()
    grey = {name: value[..., 0] for name, value in arrays.items() if name.endswith("images")}
    columns = {name: value[:, None] for name, value in arrays.items() if name.endswith("labels")}
    raw = load_raw_data(npz(write_npz(tmp_path, **grey, **columns)))
    assert raw.train[0].shape == (12, 4, 4, 1)
    assert raw.train[1].tolist() == [0, 1, 2] * 4
    assert ids(raw.test[0]) == list(range(100, 106))


def validation_arrays(first: int) -> dict[str, np.ndarray]:
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = [first, first + 1]
    return {"val_images": images, "val_labels": np.array([[2], [0]])}


def test_an_archives_own_validation_images_are_the_validation_split(tmp_path):
    config = npz(write_npz(tmp_path, **validation_arrays(200)), validation="own")
    train, validation = split_train_validation(load_raw_data(config), config)
    assert ids(train[0]) == list(range(12))
    assert (ids(validation[0]), validation[1].tolist()) == ([200, 201], [2, 0])


def test_validation_images_of_another_archive_leave_all_training_images(tmp_path):
    np.savez(tmp_path / "other.npz", **validation_arrays(210))
    config = npz(write_npz(tmp_path, **validation_arrays(200)), validation=str(tmp_path / "other.npz"))
    train, validation = split_train_validation(load_raw_data(config), config)
    assert ids(train[0]) == list(range(12))
    assert (ids(validation[0]), validation[1].tolist()) == ([210, 211], [2, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": None}, r"d\.npz has no train_labels; it has test_images"),
        ({"train_images": np.zeros((12, 4, 4, 3))}, "train images are uint8.*float64"),
        (
            {"train_images": np.zeros((12, 4, 5, 3), np.uint8), "test_images": np.zeros((6, 4, 5, 3), np.uint8)},
            "square.*4x5",
        ),
        ({"test_images": np.zeros((6, 5, 5, 3), np.uint8)}, r"test images have shape \(5, 5, 3\)"),
        ({"test_images": np.zeros((6, 4, 4, 1), np.uint8)}, r"test images have shape \(4, 4, 1\)"),
        ({"test_labels": np.arange(6)}, r"test labels are 0 to 2.*got 0 to 5"),
        ({"train_labels": -np.ones(12, int)}, "train labels"),
        ({"train_labels": np.zeros(11, int)}, "one label each.*11 labels"),
        ({"train_labels": np.zeros((12, 14), int)}, r"train_labels has shape \(12, 14\); one label per image"),
        ({"train_labels": np.linspace(0, 2, 12)}, "labels"),
        ({"train_images": np.zeros((0, 4, 4, 3), np.uint8), "train_labels": np.zeros(0, int)}, "train"),
        ({"train_labels": np.array([None] * 12, dtype=object)}, r"d\.npz"),
    ],
)
def test_a_wrong_archive_is_refused_with_its_reason(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_raw_data(npz(write_npz(tmp_path, **changes)))


def test_files_that_are_no_archive_are_refused_by_their_key(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "half.npz").write_bytes(Path(write_npz(tmp_path)).read_bytes()[:500])
    for name, message in (("no.npz", "no such file"), ("text.npz", "not a NumPy"), ("half.npz", "not a NumPy")):
        with pytest.raises(UserError, match=rf"data\.root: .*{name}: {message}"):
            load_raw_data(npz(str(tmp_path / name)))
        with pytest.raises(UserError, match=rf"data\.validation: .*{name}: {message}"):
            load_raw_data(npz(write_npz(tmp_path), validation=str(tmp_path / name)))


def test_an_archive_with_damaged_pixels_is_refused(tmp_path):
    path = Path(write_npz(tmp_path))
    raw = bytearray(path.read_bytes())
    raw[300] ^= 255  # inside the first array, so that the checksum does not fit
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"d\.npz"):
        load_raw_data(npz(str(path)))


def test_a_bare_array_is_refused(tmp_path):
    np.save(tmp_path / "d.npy", np.zeros((12, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"d\.npy"):
        load_raw_data(npz(str(tmp_path / "d.npy")))


def test_validation_that_is_not_there_is_refused(tmp_path):
    config = npz(write_npz(tmp_path), validation="own")
    with pytest.raises(UserError, match=r"data\.validation: got 'own'.*0\.1"):
        split_train_validation(load_raw_data(config), config)
    with pytest.raises(UserError, match=r"data\.validation: .*no val_images"):
        load_raw_data(npz(write_npz(tmp_path), validation=write_npz(tmp_path, "other.npz")))


# --- folders of images


def write_folder(root: Path, parts: tuple[str, ...] = ("train", "test")) -> DataConfig:
    """Two classes; each image has one colour that says part and class."""
    for index, part in enumerate(parts):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                colour = (100 * label, 50 * index, number)
                Image.new("RGB", (5, 5), colour).save(root / part / name / f"{number}.png")
    return DataConfig(dataset="image_folder", root=str(root), image_size=5)


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
    for read in (load_raw_data, peek_shape):
        with pytest.raises(UserError, match=r"data\.image_size is missing"):
            read(config)


# --- CIFAR through torchvision


def write_cifar(root: Path, name: str) -> DataConfig:
    """The real files' format, 2 images each: rows of 3,072 bytes, red before green before blue."""
    folder, key = {"cifar10": ("cifar-10-batches-py", "labels"), "cifar100": ("cifar-100-python", "fine_labels")}[name]
    files = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"] if name == "cifar10" else ["train", "test"]
    (root / folder).mkdir()
    for number, file in enumerate(files):
        rows = np.repeat(np.array([[number, 50, 200], [number, 51, 201]], np.uint8), 1024, axis=1)
        rows[:, 1] = 99  # red, row 0, column 1
        (root / folder / file).write_bytes(pickle.dumps({"data": rows, key: [number, 9]}))
    for meta in ("batches.meta", "meta"):
        (root / folder / meta).write_bytes(pickle.dumps({"label_names": [], "fine_label_names": []}))
    return DataConfig(dataset=name, root=str(root))


@pytest.mark.parametrize(("name", "files", "classes"), [("cifar10", 5, 10), ("cifar100", 1, 100)])
def test_cifar_is_read_from_the_real_files(tmp_path, monkeypatch, name, files, classes):
    monkeypatch.setattr(
        "torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True
    )  # our bytes, their md5
    raw = load_raw_data(write_cifar(tmp_path, name))
    assert raw.train[0].shape == (2 * files, 32, 32, 3)
    assert raw.train[1].tolist() == [label for number in range(files) for label in (number, 9)]
    assert raw.test[0][:, 5, 6].tolist() == [[files, 50, 200], [files, 51, 201]]
    assert raw.test[0][0, 0, 1].tolist() == [99, 50, 200]
    assert (raw.num_classes, raw.validation) == (classes, None)
    assert peek_shape(DataConfig(dataset=name)) == DataShape(classes, 3, 32)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch, name):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(UserError, match=rf"data\.root: {name} is not in .*no route to host.*data\.dataset: npz"):
        load_raw_data(DataConfig(dataset=name, root=str(tmp_path)))


# --- shapes, splits


@pytest.mark.parametrize("kind", ["digits", "npz", "grey npz", "image_folder"])
def test_the_shape_that_is_peeked_is_the_shape_that_is_loaded(tmp_path, kind):
    grey = {f"{part}_images": np.zeros((size, 6, 6), np.uint8) for part, size in (("train", 12), ("test", 6))}
    config = {
        "digits": lambda: DataConfig(dataset="digits"),
        "npz": lambda: npz(write_npz(tmp_path)),
        "grey npz": lambda: npz(write_npz(tmp_path, **grey)),
        "image_folder": lambda: write_folder(tmp_path),
    }[kind]()
    raw = load_raw_data(config)
    _, height, _, channels = raw.train[0].shape
    assert peek_shape(config) == DataShape(raw.num_classes, channels, height)


def test_a_folder_of_class_folders_alone_gives_a_fifth_for_testing(tmp_path):
    for name, value in (("cat", 10), ("dog", 200)):
        (tmp_path / name).mkdir()
        for index in range(10):
            Image.fromarray(np.full((6, 7, 3), value + index, np.uint8)).save(tmp_path / name / f"{index}.png")
    raw = load_raw_data(DataConfig(dataset="image_folder", root=str(tmp_path), image_size=5))
    assert np.bincount(raw.train[1]).tolist() == [8, 8] and np.bincount(raw.test[1]).tolist() == [2, 2]
    pixels = [{int(image[0, 0, 0]) for image in part[0]} for part in (raw.train, raw.test)]
    assert pixels[0] | pixels[1] == {*range(10, 20), *range(200, 210)} and not pixels[0] & pixels[1]


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.root: .*one folder for each"):
        load_raw_data(DataConfig(dataset="image_folder", root=str(tmp_path), image_size=5))
