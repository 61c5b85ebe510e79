"""What a network sees of an image: normalised, on the device, and no test image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import load_data
from made_data import CPU, make_augmenting, make_raw, plain_config
from torchvision.transforms.functional import normalize, to_tensor

from evoprune.common.errors import UserError
from evoprune.data.dataset import RawData
from evoprune.data.mapped import MappedImages
from evoprune.data.split import split_data, split_train_validation
from evoprune.data.tensors import MappedSplit, _send, make_data, place_data, to_split


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_searchs_data_has_no_test_image(tmp_path):
    raw = make_raw()
    arrays = {"train_images": raw.train[0], "train_labels": raw.train[1]}
    np.savez(tmp_path / "d.npz", **arrays, test_images=raw.test[0], test_labels=raw.test[1])
    data = load_data(plain_config(root=str(tmp_path / "d.npz")), CPU)
    tensors = [value for split in (data.train, data.validation) for value in vars(split).values()]
    tensors += [value for value in vars(data).values() if isinstance(value, torch.Tensor)]
    assert max(float(tensor.max()) for tensor in tensors) < 200, "test pixels are 200 and more"
    assert len(data.train) + len(data.validation) == 19
    assert not hasattr(data, "test")


def test_tensors_on_the_cpu_share_the_arrays_that_workers_share(recwarn):
    arrays = split_data(make_raw(channels=3), plain_config())
    for part in (arrays.train, arrays.validation):
        for array in part:
            array.flags.writeable = False  # as they come from Ray's object store
    data = place_data(arrays, CPU)
    for split, part in ((data.train, arrays.train), (data.validation, arrays.validation)):
        assert np.shares_memory(split.images.numpy(), part[0])
        assert np.shares_memory(split.labels.numpy(), part[1])
        assert split.images.is_contiguous(memory_format=torch.channels_last)
    assert not recwarn.list


def in_file(raw: RawData, folder: Path) -> RawData:
    """The same data set with its training images in a file."""
    np.save(folder / "images.npy", raw.train[0])
    return replace(raw, train=(MappedImages(folder / "images.npy", np.arange(len(raw.train[1]))), raw.train[1]))


def test_images_of_a_file_are_split_and_counted_as_those_in_memory_and_stay_there(tmp_path, monkeypatch):
    monkeypatch.setattr("evoprune.data.mapped._BYTES_AT_ONCE", 200)
    monkeypatch.setattr("evoprune.data.split._IMAGES_AT_ONCE", 7)
    raw = make_raw(channels=3)
    wanted, arrays = (split_data(each, plain_config()) for each in (raw, in_file(raw, tmp_path)))
    assert (arrays.mean, arrays.std) == (wanted.mean, wanted.std)
    data = place_data(arrays, CPU)
    for split, images, (pixels, labels) in (
        (data.train, arrays.train[0], wanted.train),
        (data.validation, arrays.validation[0], wanted.validation),
    ):
        assert isinstance(split, MappedSplit) and split.images is images
        np.testing.assert_array_equal(images, pixels)
        assert split.labels.tolist() == labels.tolist()


def test_a_worker_that_cannot_see_the_file_says_so_before_it_works(tmp_path):
    part = in_file(make_raw(), tmp_path).train
    (tmp_path / "images.npy").unlink()
    for device in (CPU, torch.device("meta")):
        with pytest.raises(UserError, match=r"data\.cache: .*a folder that all of them see"):
            to_split(part, device)


def test_images_of_a_file_reach_a_device_some_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("evoprune.data.mapped._BYTES_AT_ONCE", 200)
    raw = make_raw(channels=3)
    sent = _send(in_file(raw, tmp_path).train[0], CPU)
    assert sent.dtype == torch.uint8 and np.array_equal(sent, raw.train[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_torchvisions(channels):
    raw = make_raw(channels)
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    data = make_data(raw, plain_config(mean=mean, std=std), CPU)
    split = to_split(raw.train, CPU)
    wanted = torch.stack([normalize(to_tensor(image), list(mean), list(std)) for image in raw.train[0]])
    before = split.images.clone()
    result = data.normalise(split.images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5, check_stride=False)
    assert torch.equal(split.images, before)


def test_statistics_are_those_of_the_training_split_alone():
    raw = make_raw(channels=3)
    data = make_data(raw, plain_config(), CPU)
    train = split_train_validation(raw, plain_config())[0][0] / 255
    np.testing.assert_allclose(data.mean.flatten(), train.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(data.std.flatten(), train.std((0, 1, 2)), atol=1e-6)
    normalised = data.normalise(data.train.images)
    np.testing.assert_allclose(normalised.mean((0, 2, 3)), 0, atol=1e-5)


def test_constant_images_normalise_to_finite_numbers():
    images = np.full((8, 4, 4, 1), 7, np.uint8)
    data, tensor = make_augmenting(0, False, images)
    assert torch.isfinite(data.normalise(tensor)).all()


def test_images_keep_their_pixels_on_the_way_to_tensors():
    raw = make_raw(channels=3)
    split = to_split(raw.train, CPU)
    assert split.images.shape == (19, 3, 4, 4)
    assert split.images.dtype == torch.uint8
    assert split.images[5, 2, 1, 3] == raw.train[0][5, 1, 3, 2]
    assert split.labels.tolist() == raw.train[1].tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("crop", "flip"), [(0, False), (2, False), (0, True), (3, True)])
def test_a_training_batch_is_the_normalised_augmentation_to_the_bit(channels, crop, flip):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, channels)).astype(np.uint8)
    data, _ = make_augmenting(crop, flip, images)
    indices = torch.tensor([7, 0, 7, 3, 12, 19])
    ours, theirs = generator(), generator()
    batch, labels = data.training_batch(data.plan(indices, ours))
    expected = data.normalise(data.augment(data.train.images[indices], theirs))
    assert torch.equal(labels, data.train.labels[indices])
    torch.testing.assert_close(batch, expected, rtol=0, atol=0)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_what_a_deployed_model_needs_normalises_as_training_did():
    data = make_data(make_raw(channels=3), plain_config(), CPU)
    mean, std = (np.array(data.preprocessing[name]) for name in ("mean", "std"))
    pixels = data.train.images.permute(0, 2, 3, 1).numpy()
    wanted = torch.from_numpy((pixels / 255 - mean) / std).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(data.normalise(data.train.images), wanted, atol=1e-5, rtol=1e-5, check_stride=False)
