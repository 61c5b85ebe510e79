"""Splits that keep test images out, and what a network sees of an image: normalised, cropped, mirrored."""

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import normalize, to_tensor

from evoprune import UserError
from evoprune.config import DataConfig
from evoprune.data.batches import batches
from evoprune.data.tensors import Data, load_data, make_data, place_data, split_data, to_split
from evoprune.data.dataset import RawData
from evoprune.data.split import split_train_validation

CPU = torch.device("cpu")
SIZES = (10, 5, 4)  # images per class


def make_raw(channels: int = 1, seed: int = 0) -> RawData:
    """19 training images of three classes, numbered from 0 in the first pixel; test images from 200."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1, 2], SIZES))
    images = rng.integers(0, 200, (19, 4, 4, channels)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(19)
    test = np.full((6, 4, 4, channels), 200, np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]
    return RawData((images, labels), (test, np.arange(6) % 3), None, 3)


def config(**keys: object) -> DataConfig:
    return DataConfig(dataset="npz", **{"validation": 0.2, "crop": 0, "flip": False, **keys})


def ids(images) -> set[int]:
    return set(images[:, 0, 0, 0].tolist())


def make_augmenting(crop: int, flip: bool, images: np.ndarray) -> tuple[Data, torch.Tensor]:
    raw = RawData((images, np.arange(len(images)) % 2), (images, np.zeros(len(images), np.int64)), None, 2)
    data = make_data(raw, config(crop=crop, flip=flip, validation=0.5), CPU)
    return data, to_split(raw.train, CPU).images


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- splits


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.2, [2, 1, 1]), (0.1, [1, 0, 0]), (0.4, [4, 2, 2]), (0.75, [8, 4, 3])]
)
def test_every_class_gives_its_share_to_validation(fraction, counts):
    """10, 5 and 4 images; 0.75 of 10 is 7.5 and of 5 is 3.75; round half to even."""
    train, validation = split_train_validation(make_raw(), config(validation=fraction))
    assert np.bincount(validation[1], minlength=3).tolist() == counts
    assert np.bincount(train[1], minlength=3).tolist() == [size - n for size, n in zip(SIZES, counts, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_image_and_lose_none(seed):
    raw = make_raw()
    (train, train_labels), (validation, labels) = split_train_validation(raw, config(split_seed=seed))
    assert ids(train) | ids(validation) == set(range(19))
    assert len(train) + len(validation) == 19
    for images, own in ((train, train_labels), (validation, labels)):
        assert own.tolist() == raw.train[1][images[:, 0, 0, 0]].tolist(), "an image lost its label"


def test_the_split_follows_its_seed():
    parts = [ids(split_train_validation(make_raw(), config(split_seed=seed))[1][0]) for seed in (0, 0, 1, 2, 3)]
    assert parts[0] == parts[1]
    assert len({frozenset(part) for part in parts}) > 2


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_an_empty_split_is_refused(fraction):
    with pytest.raises(UserError, match=r"data\.validation: .*19 training images.*empty"):
        split_train_validation(make_raw(), config(validation=fraction))


def test_the_searchs_data_has_no_test_image(tmp_path):
    raw = make_raw()
    arrays = {"train_images": raw.train[0], "train_labels": raw.train[1]}
    np.savez(tmp_path / "d.npz", **arrays, test_images=raw.test[0], test_labels=raw.test[1])
    data = load_data(config(root=str(tmp_path / "d.npz")), CPU)
    tensors = [value for split in (data.train, data.validation) for value in vars(split).values()]
    tensors += [value for value in vars(data).values() if isinstance(value, torch.Tensor)]
    assert max(float(tensor.max()) for tensor in tensors) < 200, "test pixels are 200 and more"
    assert len(data.train) + len(data.validation) == 19
    assert not hasattr(data, "test")


def test_tensors_on_the_cpu_share_the_arrays_that_workers_share(recwarn):
    arrays = split_data(make_raw(channels=3), config())
    for part in (arrays.train, arrays.validation):
        for array in part:
            array.flags.writeable = False  # as they come from Ray's object store
    data = place_data(arrays, CPU)
    for split, part in ((data.train, arrays.train), (data.validation, arrays.validation)):
        assert np.shares_memory(split.images.numpy(), part[0])
        assert np.shares_memory(split.labels.numpy(), part[1])
        assert split.images.is_contiguous(memory_format=torch.channels_last)
    assert not recwarn.list


def test_splits_are_whole_blocks_of_memory_whatever_the_archive_held():
    raw = make_raw(channels=3)
    own = RawData((np.asfortranarray(raw.train[0]), raw.train[1]), raw.test, (raw.test[0][::2], raw.test[1][::2]), 3)
    arrays = split_data(own, config(validation="own"))
    for images, labels in (arrays.train, arrays.validation):
        assert images.flags.c_contiguous and labels.flags.c_contiguous
    np.testing.assert_array_equal(arrays.train[0], raw.train[0])


# --- normalisation


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_torchvisions(channels):
    raw = make_raw(channels)
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    data = make_data(raw, config(mean=mean, std=std), CPU)
    split = to_split(raw.train, CPU)
    wanted = torch.stack([normalize(to_tensor(image), list(mean), list(std)) for image in raw.train[0]])
    before = split.images.clone()
    result = data.normalise(split.images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5, check_stride=False)
    assert torch.equal(split.images, before)


def test_statistics_are_those_of_the_training_split_alone():
    raw = make_raw(channels=3)
    data = make_data(raw, config(), CPU)
    train = split_train_validation(raw, config())[0][0] / 255
    np.testing.assert_allclose(data.mean.flatten(), train.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(data.std.flatten(), train.std((0, 1, 2)), atol=1e-6)
    normalised = data.normalise(data.train.images)
    np.testing.assert_allclose(normalised.mean((0, 2, 3)), 0, atol=1e-5)


def test_constant_images_normalise_to_finite_numbers():
    images = np.full((8, 4, 4, 1), 7, np.uint8)
    data, tensor = make_augmenting(0, False, images)
    assert torch.isfinite(data.normalise(tensor)).all()


@pytest.mark.parametrize("key", ["mean", "std"])
def test_one_number_per_channel(key):
    with pytest.raises(UserError, match=rf"data\.{key}: one number per channel, so 3; got 1"):
        make_data(make_raw(channels=3), config(**{key: (0.5,)}), CPU)


def test_images_keep_their_pixels_on_the_way_to_tensors():
    raw = make_raw(channels=3)
    split = to_split(raw.train, CPU)
    assert split.images.shape == (19, 3, 4, 4)
    assert split.images.dtype == torch.uint8
    assert split.images[5, 2, 1, 3] == raw.train[0][5, 1, 3, 2]
    assert split.labels.tolist() == raw.train[1].tolist()


# --- augmentation


def versions(image: np.ndarray, crop: int, flip: bool) -> set[bytes]:
    """All that augmentation may make of one image (height, width, channels), enumerated by hand."""
    side = image.shape[0]
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    crops = [padded[y : y + side, x : x + side] for y in range(2 * crop + 1) for x in range(2 * crop + 1)]
    mirrored = [cut[:, ::-1] for cut in crops] if flip else []
    return {np.ascontiguousarray(cut).tobytes() for cut in (*crops, *mirrored)}


def as_bytes(image: torch.Tensor) -> bytes:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy()).tobytes()


@pytest.mark.parametrize(
    ("crop", "flip", "number"), [(0, False, 1), (1, False, 9), (2, False, 25), (0, True, 2), (1, True, 18)]
)
def test_augmented_images_are_exactly_the_crops_and_mirror_images(crop, flip, number):
    images = np.random.default_rng(0).integers(1, 256, (4, 5, 5, 3)).astype(np.uint8)
    data, batch = make_augmenting(crop, flip, images)
    allowed = [versions(image, crop, flip) for image in images]
    assert [len(each) for each in allowed] == [number] * 4
    seen: list[set[bytes]] = [set() for _ in images]
    rng = generator()
    for _ in range(250):
        result = data.augment(batch, rng)
        assert result.shape == batch.shape and result.dtype == torch.uint8
        for index, image in enumerate(result):
            seen[index].add(as_bytes(image))
    assert seen == allowed, "every version, and no other, comes up"


def test_images_of_a_batch_are_drawn_one_by_one():
    image = np.random.default_rng(1).integers(1, 256, (1, 5, 5, 1)).astype(np.uint8)
    data, batch = make_augmenting(1, True, np.repeat(image, 64, axis=0))
    assert len({as_bytes(each) for each in data.augment(batch, generator())}) > 9


def test_half_of_the_images_are_mirrored():
    data, batch = make_augmenting(0, True, np.tile(np.arange(4, dtype=np.uint8)[None, None, :, None], (1000, 4, 1, 1)))
    mirrored = int((data.augment(batch, generator())[:, 0, 0, 0] == 3).sum())
    assert 440 < mirrored < 560  # 500 +- 3.8 standard deviations


def test_augmentation_follows_its_generator_and_leaves_its_input():
    images = np.random.default_rng(2).integers(0, 256, (16, 6, 6, 3)).astype(np.uint8)
    data, batch = make_augmenting(2, True, images)
    before = batch.clone()
    first, second, other = (data.augment(batch, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(batch, before)


# --- batches


def test_batches_without_a_generator_are_complete_and_in_order():
    assert [batch.tolist() for batch in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_shuffled_batches_are_full_and_repeat_no_image():
    drawn = list(batches(11, 3, generator()))
    assert [len(batch) for batch in drawn] == [3, 3, 3]
    flat = torch.cat(drawn).tolist()
    assert len(set(flat)) == 9 and set(flat) <= set(range(11))
    assert flat != sorted(flat)


def test_shuffling_follows_its_generator_and_changes_from_epoch_to_epoch():
    rng = generator()
    first, second = (torch.cat(list(batches(64, 8, rng))).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(64))
    assert first != second
    assert torch.cat(list(batches(64, 8, generator()))).tolist() == first


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("crop", "flip"), [(0, False), (2, False), (0, True), (3, True)])
def test_a_training_batch_is_the_normalised_augmentation_to_the_bit(channels, crop, flip):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, channels)).astype(np.uint8)
    data, _ = make_augmenting(crop, flip, images)
    indices = torch.tensor([7, 0, 7, 3, 12, 19])
    ours, theirs = generator(), generator()
    batch = data.training_batch(indices, ours)
    expected = data.normalise(data.augment(data.train.images[indices], theirs))
    torch.testing.assert_close(batch, expected, rtol=0, atol=0)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours.get_state(), theirs.get_state())
