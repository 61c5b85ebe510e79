"""Random crops and mirroring: every version that chance may make, and no other."""

import numpy as np
import pytest
import torch
from made_data import make_augmenting

from evoprune.data.augment import Drawn, crop_and_flip, draw


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_what_chance_has_drawn_is_done_to_each_image_by_hand():
    images = torch.arange(18, dtype=torch.uint8).reshape(2, 1, 3, 3)
    drawn = Drawn(torch.tensor([[0, 2], [1, 1]]), torch.tensor([False, True]))
    assert crop_and_flip(images, 1, drawn)[:, 0].tolist() == [
        [[0, 0, 0], [0, 1, 2], [3, 4, 5]],  # one row down
        [[14, 13, 12], [17, 16, 15], [0, 0, 0]],  # one row up and mirrored
    ]


def test_nothing_is_drawn_where_nothing_is_augmented():
    rng = generator()
    before = rng.get_state()
    drawn = draw(5, 0, False, rng)
    assert not drawn.offsets.any() and not drawn.mirrored.any() and torch.equal(rng.get_state(), before)
    offsets, mirrored = draw(2000, 2, True, rng)
    assert offsets.shape == (2, 2000) and sorted(offsets.unique().tolist()) == [0, 1, 2, 3, 4]
    assert 0 < int(mirrored.sum()) < 2000
