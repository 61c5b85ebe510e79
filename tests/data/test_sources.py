"""Every source ends as the same uint8 arrays; what is malformed is refused; an archive is opened once."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from made_data import ids, make_arrays, npz, validation_arrays, write_cifar, write_npz
from sklearn.datasets import load_digits

from evoprune import UserError
from evoprune.config import DataConfig
from evoprune.data.dataset import DataShape
from evoprune.data.sources import DataSource, load_raw_data
from evoprune.data.split import split_train_validation

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


def test_digits_are_read_in_one_way_or_the_other_alike(monkeypatch):
    """A later scikit-learn may keep its file elsewhere."""
    quickly = load_raw_data(DataConfig(dataset="digits"))
    monkeypatch.setattr("evoprune.data.sources.find_spec", lambda name: None)
    slowly = load_raw_data(DataConfig(dataset="digits"))
    for one, other in zip((*quickly.train, *quickly.test), (*slowly.train, *slowly.test), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    assert quickly.classes == slowly.classes


def test_digits_do_not_load_scikit_learn():
    program = "import sys; from evoprune.config import DataConfig; from evoprune.data.sources import load_raw_data; "
    program += "load_raw_data(DataConfig(dataset='digits')); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


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


@pytest.fixture
def opened(monkeypatch):
    """The names of all files that NumPy loads, in order."""
    names, load = [], np.load

    def count(path, **arguments):
        names.append(Path(path).name)
        return load(path, **arguments)

    monkeypatch.setattr(np, "load", count)
    return names


@pytest.mark.parametrize(
    ("validation", "wanted"),
    [(0.2, ["d.npz"]), ("own", ["d.npz"]), ("d.npz", ["d.npz"]), ("v.npz", ["d.npz", "v.npz"])],
)
def test_an_archive_is_opened_once_whatever_is_asked(tmp_path, monkeypatch, opened, validation, wanted):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path, **validation_arrays(200))
    write_npz(tmp_path, "v.npz", **validation_arrays(210))
    config = npz("d.npz", validation=validation, mean=(0.5, 0.5, 0.5))
    source = DataSource(config)
    assert source.shape == source.shape == DataShape(3, 3, 4)
    source.check()
    source.check()
    raw = source.read()
    assert opened == wanted
    assert ids(raw.validation[0]) == ([210, 211] if validation == "v.npz" else [200, 201])
    assert len(raw.train[0]) == 12


def test_reading_alone_opens_an_archive_once_and_needs_no_other_question(tmp_path, opened):
    load_raw_data(npz(write_npz(tmp_path)))
    assert opened == ["d.npz"]


def test_a_source_forgets_the_images_that_it_has_handed_out(tmp_path):
    """It lives as long as its run, which has them in its data set."""
    source = DataSource(npz(write_npz(tmp_path, **validation_arrays(200)), validation="own"))
    raw = source.read()
    images = weakref.ref(raw.train[0])
    del raw
    gc.collect()
    assert images() is None and source.read().train[0].shape == (12, 4, 4, 3)


# --- CIFAR through torchvision


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
    assert DataSource(DataConfig(dataset=name)).shape == DataShape(classes, 3, 32)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch, name):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(UserError, match=rf"data\.root: {name} is not in .*no route to host.*data\.dataset: npz"):
        load_raw_data(DataConfig(dataset=name, root=str(tmp_path)))
