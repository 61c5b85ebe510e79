"""One contract for every split: images with labels that networks are trained and scored on, in memory or not.

Names what it tests: evoprune.data.dataset, evoprune.data.tensors.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import few_digits, same_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_data import CPU

from evoprune.config import TrainingConfig
from evoprune.data.dataset import Part, Split
from evoprune.data.mapped import MappedImages
from evoprune.data.tensors import to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import CPU as COMPUTE
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import train


def mapped(part: Part, folder: Path) -> Split:
    """Images in a file, among others and in another order there."""
    images = np.asarray(part[0])
    np.save(folder / "images.npy", np.repeat(images[::-1], 2, axis=0))
    return to_split((MappedImages(folder / "images.npy", np.arange(2 * len(images))[::-2]), part[1]), CPU)


def thinned(part: Part, folder: Path) -> Split:
    """Every second image of a split with each image twice."""
    return to_split((np.repeat(part[0], 2, axis=0), np.repeat(part[1], 2)), CPU).evenly(len(part[1]))


SPLITS: dict[str, Callable[[Part, Path], Split]] = {
    "tensors": lambda part, folder: to_split(part, CPU),
    "thinned tensors": thinned,
    "mapped file": mapped,
}


def make_part(count: int = 20, channels: int = 3) -> Part:
    """Images of 5 x 4 pixels, sorted by class, and numbered in their first pixel."""
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 4, channels)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images, np.arange(count) // 5


@pytest.fixture(params=SPLITS)
def make_split(request, tmp_path) -> Callable[[Part], Split]:
    return lambda part: SPLITS[request.param](part, tmp_path)


def numbers(split: Split) -> list[int]:
    return split.batch(torch.arange(len(split)))[0][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_it_says_how_many_images_there_are_and_their_shape(make_split, channels):
    split = make_split(make_part(channels=channels))
    assert (len(split), split.image_shape) == (20, (channels, 5, 4))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(indices=st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_a_batch_is_the_images_at_the_indices_in_their_order(make_split, indices):
    part = make_part()
    images, labels = make_split(part).batch(torch.tensor(indices, dtype=torch.int64))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert images.shape == (len(indices), 3, 5, 4) and images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1), part[0][indices])
    assert labels.tolist() == part[1][indices].tolist()


def test_who_writes_into_a_batch_does_not_write_into_the_split(make_split):
    split = make_split(make_part())
    images, labels = split.batch(torch.arange(20))
    images.zero_(), labels.zero_()
    assert numbers(split) == list(range(20))
    assert split.batch(torch.arange(20))[1].tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 30))
def test_some_images_are_taken_at_even_steps(make_split, count):
    split = make_split(make_part())
    few = split.evenly(count)
    assert len(few) == min(count, 20) and few.image_shape == split.image_shape
    assert numbers(few) == [index * 20 // len(few) for index in range(len(few))]
    shares = np.bincount(few.batch(torch.arange(len(few)))[1], minlength=4)
    assert shares.max() - shares.min() <= 1, "classes that are sorted stay even"
    assert numbers(few.evenly(1)) == [0]


def test_training_and_scoring_need_no_more_of_a_split_than_it_says(make_split, small_space, small_base):
    """The same bits, whatever split the images come from."""
    plain = few_digits(160, flip=True)
    part = plain.train.images.permute(0, 2, 3, 1).numpy(), plain.train.labels.numpy()
    networks, results = [], []
    for data in (plain, replace(plain, train=make_split(part))):
        network = copy.deepcopy(small_base)
        for _ in train(network, data, TrainingConfig(epochs=2, batch_size=32, lr=0.05)):
            pass
        recalibrate(network, data, 100)
        scores = taylor_scores(small_space, network, data, 50, COMPUTE)
        networks.append(network)
        results.append((accuracy(network, data, data.train), {name: each.tolist() for name, each in scores.items()}))
    assert same_weights(*networks) and not same_weights(networks[0], small_base)
    assert results[0] == results[1]
