"""Images that stay in a file: choosing reads nothing, and what travels is the path."""

import pickle

import numpy as np
import pytest

from evoprune import UserError
from evoprune.data.mapped import MappedImages

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path) -> MappedImages:
    np.save(tmp_path / "images.npy", PIXELS)
    return MappedImages(tmp_path / "images.npy", np.arange(20))


def test_it_is_like_the_array_that_is_in_the_file(images):
    assert (len(images), images.shape, images.ndim, images.dtype) == (20, PIXELS.shape, 4, np.uint8)
    np.testing.assert_array_equal(images, PIXELS)
    np.testing.assert_array_equal(np.asarray(images, dtype=float), PIXELS.astype(float))


@pytest.mark.parametrize("which", [slice(3, 17, 4), np.arange(20) % 3 == 1, np.array([5, 5, 0])])
def test_choosing_and_choosing_again_is_indexing(images, which):
    np.testing.assert_array_equal(images[which], PIXELS[which])
    np.testing.assert_array_equal(images[which][::-1], PIXELS[which][::-1])
    np.testing.assert_array_equal(images[which].read(np.array([1, 0])), PIXELS[which][[1, 0]])


def test_choosing_reads_nothing(tmp_path):
    chosen = MappedImages(tmp_path / "not_there_yet.npy", np.arange(20))[::2]
    assert len(chosen) == 10
    np.save(tmp_path / "not_there_yet.npy", PIXELS)
    np.testing.assert_array_equal(chosen, PIXELS[::2])


def test_what_is_read_is_the_readers_own(images):
    images.read(slice(None))[:] = 0
    np.asarray(images)[:] = 0
    np.testing.assert_array_equal(images, PIXELS)


def test_what_travels_is_a_path_and_a_choice(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for each in (images, MappedImages(tmp_path.relative_to(tmp_path) / "images.npy", np.arange(20))):
        assert each.shape == PIXELS.shape, "it has been opened"
        text = pickle.dumps(each, protocol=5)
        assert len(text) < 1000 and PIXELS[0].tobytes() not in text
        monkeypatch.chdir("/")
        np.testing.assert_array_equal(pickle.loads(text), PIXELS)
        monkeypatch.chdir(tmp_path)


def test_chunks_are_all_images_in_order(images, monkeypatch):
    monkeypatch.setattr("evoprune.data.mapped._BYTES_AT_ONCE", 7 * 60)
    chunks = list(images[1:].chunks())
    assert [len(chunk) for chunk in chunks] == [7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(chunks), PIXELS[1:])


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00half"])
def test_where_the_file_is_not_the_error_says_what_workers_need(tmp_path, content):
    if content is not None:
        (tmp_path / "images.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"data\.cache: .*images\.npy: .*a folder that all of them see"):
        MappedImages(tmp_path / "images.npy", np.arange(3)).shape  # noqa: B018
