"""Batches: which images each step sees."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import CPU, make_raw, plain_config

from evoprune.data.batches import Steps, batches
from evoprune.data.tensors import make_data


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


# --- the steps of a training


@pytest.mark.parametrize(
    ("num_images", "batch_size", "epochs", "per_epoch", "number", "num_epochs"),
    [
        (100, 32, 2, 3, 6, 2),  # the short last batch is dropped
        (100, 32, 0.5, 3, 2, 1),  # 1.5 steps, rounded to even
        (100, 32, 1.2, 3, 4, 2),  # 3.6 steps
        (100, 32, 0.01, 3, 1, 1),  # one at least
        (100, 32, 0, 3, 0, 0),
        (20, 32, 3, 1, 3, 3),  # all images, where they are fewer than a batch
    ],
)
def test_steps_by_hand(num_images, batch_size, epochs, per_epoch, number, num_epochs):
    steps = Steps(num_images, batch_size, epochs)
    assert (steps.per_epoch, steps.number, steps.num_epochs) == (per_epoch, number, num_epochs)
    assert steps.batch_size == min(num_images, batch_size)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 64), st.floats(0, 5))
def test_epochs_tile_the_steps(num_images, batch_size, epochs):
    steps = Steps(num_images, batch_size, epochs)
    bounds = [steps.first_of(epoch) for epoch in range(steps.num_epochs + 1)]
    assert bounds[0] == 0 and bounds[-1] == steps.number == steps.first_of(99)
    assert all(0 < last - first <= steps.per_epoch for first, last in pairwise(bounds))


def test_each_epoch_has_its_own_order_and_its_steps_their_numbers():
    data = make_data(make_raw(), plain_config(), CPU)
    assert len(data.train) == 15
    steps = Steps(15, 4, 2.3)  # 3 steps an epoch, 7 in all
    epochs = [list(steps.batches(data, 0, epoch)) for epoch in range(3)]
    assert [[step for step, _, _ in epoch] for epoch in epochs] == [[0, 1, 2], [3, 4, 5], [6]]
    labels = [torch.cat([labels for _, _, labels in epoch]).tolist() for epoch in epochs[:2]]
    assert all(len(each) == 12 for each in labels) and labels[0] != labels[1]
    pixels = torch.cat([inputs for _, inputs, _ in epochs[0]]).flatten(1)
    assert len(pixels.unique(dim=0)) == 12, "no image comes twice in an epoch"


def test_an_epoch_alone_is_the_one_that_it_is_in_a_whole_training():
    """So an interrupted training goes on with the images that it would have seen."""
    data = make_data(make_raw(), plain_config(crop=1, flip=True), CPU)
    steps = Steps(15, 4, 3)
    whole = [batch for epoch in range(3) for batch in steps.batches(data, 5, epoch)]
    for mine, (step, inputs, labels) in zip(steps.batches(data, 5, 2), whole[6:], strict=True):
        assert mine[0] == step and torch.equal(mine[1], inputs) and torch.equal(mine[2], labels)
    other = next(iter(steps.batches(data, 6, 2)))
    assert not torch.equal(other[1], whole[6][1])


def test_alternating_mirrors_each_image_every_other_epoch():
    """By hand: what is mirrored in one epoch is not in the next, and is again in the one after."""
    data, steps = make_data(make_raw(), plain_config(flip="alternating"), CPU), Steps(15, 15, 3)
    seen = []
    for epoch in range(3):
        ((_, plan),) = steps.plans(data, 7, epoch)
        seen.append(plan.mirrored[plan.indices.argsort()].tolist())
    assert seen[0] == seen[2] and seen[0] == [not mirrored for mirrored in seen[1]]
    assert 0 < sum(seen[0]) < 15
    ((_, other),) = steps.plans(data, 8, 0)
    assert other.mirrored[other.indices.argsort()].tolist() != seen[0]
