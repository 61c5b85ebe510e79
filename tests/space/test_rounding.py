"""Widths that are multiples: which ones, which channels, and that other constraints hold too."""

import numpy as np
import pytest
import torch
from searching import is_rounded
from strangers import Branches, Grouped
from traced import images, ready

from evoprune import load_search_space, slim_network, trace_search_space
from evoprune.space.rounding import round_code, smaller_code, smallest_code

CARRIED = load_search_space("resnet20", width=12, num_classes=10, in_channels=1, image_size=8)


@pytest.fixture(scope="module", params=["carried", "branches", "grouped"])
def space(request):
    if request.param == "carried":
        return CARRIED
    network = {"branches": Branches, "grouped": Grouped}[request.param]
    return trace_search_space(ready(network()), images())


def widths(space, code) -> np.ndarray:
    return np.array(list(space.widths(code).values()))


def full(space) -> np.ndarray:
    return np.array([segment.width for segment in space.segments])


@pytest.mark.parametrize("multiple", [2, 3, 8])
def test_every_segment_keeps_a_multiple_or_all(space, multiple):
    rng = np.random.default_rng(0)
    for share in np.linspace(0, 1, 30):
        code = (rng.random(space.length) < share).astype(np.uint8)
        rounded = round_code(space, code, multiple, rng.random(space.length), rng)
        kept = widths(space, rounded)
        assert ((kept % multiple == 0) | (kept == full(space))).all() and (
            kept >= np.minimum(multiple, full(space))
        ).all()
        assert np.array_equal(space.repair(rounded), rounded) and is_rounded(space, rounded, multiple)
        again = round_code(space, rounded, multiple, rng.random(space.length), rng)
        assert np.array_equal(again, rounded), "what is rounded stays"


def test_what_is_not_rounded_is_known():
    code = CARRIED.full_code()
    assert is_rounded(CARRIED, code, 5)
    code[0] = 0
    assert not is_rounded(CARRIED, code, 5) and is_rounded(CARRIED, code, 11)


def test_a_width_becomes_a_neighbour_and_the_mean_stays():
    """3 of 12 channels, or 4: a quarter of the way from 0 to 4 would be 1; 9 of 12 becomes 8 in three of four draws."""
    code, rng, segment = CARRIED.full_code(), np.random.default_rng(0), CARRIED.segments[0]
    code[segment.slice][9:] = 0
    keys = rng.random(CARRIED.length)
    found = [widths(CARRIED, round_code(CARRIED, code, 4, keys, rng))[0] for _ in range(400)]
    assert set(found) == {8, 12} and np.mean(found) == pytest.approx(9, abs=0.3)


def test_the_least_important_channels_go_and_the_most_important_come_back():
    keys, segment = np.zeros(CARRIED.length), CARRIED.segments[0]
    keys[segment.slice] = [5, 1, 4, 9, 8, 2, 7, 3, 6, 0, 11, 10]
    code = CARRIED.full_code()
    code[segment.slice] = [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    found = {
        tuple(round_code(CARRIED, code, 4, keys, np.random.default_rng(seed))[segment.slice]) for seed in range(20)
    }
    assert found == {(1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0), (1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1)}


def test_segments_that_go_together_stay_together():
    rng = np.random.default_rng(0)
    for _ in range(10):
        code = np.zeros(CARRIED.length, dtype=np.uint8)
        keys = np.zeros(CARRIED.length)
        for group in CARRIED.groups:
            group.put(code, rng.permutation(group.width) < rng.integers(1, group.width))
            group.put(keys, rng.random(group.width))
        assert CARRIED.adapters(round_code(CARRIED, code, 4, keys, rng)) == CARRIED.adapters(code) == []


@pytest.mark.parametrize("multiple", [2, 8])
def test_codes_shrink_by_blocks_down_to_the_smallest(space, multiple):
    code, rng, smallest = space.full_code(), np.random.default_rng(0), smallest_code(space, multiple)
    assert (widths(space, smallest) <= full(space)).all() and is_rounded(space, smallest, multiple)
    sizes = [int(code.sum())]
    while not np.array_equal(code, smallest):
        code = smaller_code(space, code, multiple, rng)
        assert is_rounded(space, code, multiple) and np.array_equal(space.repair(code), code)
        sizes.append(int(code.sum()))
    assert sizes[:-1] == sorted(set(sizes[:-1]), reverse=True) and sizes[-1] <= sizes[0]


def test_the_smallest_code_of_a_carried_network_keeps_one_block_of_each_segment():
    assert set(widths(CARRIED, smallest_code(CARRIED, 8))) == {8}
    assert (widths(CARRIED, smallest_code(CARRIED, 16)) == np.minimum(full(CARRIED), 16)).all()


def test_a_rounded_code_is_a_network():
    network = ready(Grouped())
    space = trace_search_space(network, images())
    code = round_code(space, space.smallest_code(), 4, np.zeros(space.length), np.random.default_rng(0))
    with torch.no_grad():
        assert slim_network(space, network, code)(images()).shape[1] == network(images()).shape[1]
