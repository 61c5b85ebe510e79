"""One contract for every proposal, and what evolution promises besides."""

import numpy as np
import pytest

from evoprune.config import SearchConfig
from evoprune.proposals import PROPOSALS, Evolution, Proposal, Random, make_proposal
from evoprune.space import SearchSpace


@pytest.fixture(params=list(PROPOSALS))
def proposal(request: pytest.FixtureRequest, small_space: SearchSpace) -> Proposal:
    return make_proposal(request.param, small_space, SearchConfig())


def random_parents(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 2, (count, 2, space.length), dtype=np.uint8)
    return np.apply_along_axis(space.repair, 2, codes)


@pytest.mark.parametrize("count", [1, 7])
def test_one_code_for_each_pair(proposal, small_space, count):
    codes = proposal.propose(random_parents(small_space, count), np.random.default_rng(0))
    assert codes.shape == (count, small_space.length)
    assert codes.dtype == np.uint8 and set(np.unique(codes)) <= {0, 1}


def test_the_generator_decides_everything(proposal, small_space):
    parents = random_parents(small_space, 8)
    first, again, other = (proposal.propose(parents, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and not (first == other).all()


def test_parents_are_left_as_they_are(proposal, small_space):
    parents = random_parents(small_space, 8)
    before = parents.copy()
    proposal.propose(parents, np.random.default_rng(0))
    assert (parents == before).all()


def test_children_need_little_repair(proposal, small_space):
    codes = proposal.propose(random_parents(small_space, 50), np.random.default_rng(0))
    assert all((small_space.repair(code) == code).all() for code in codes)


@pytest.mark.parametrize("kept", [0, 1])
def test_the_smallest_and_the_full_code_have_children_too(proposal, small_space, kept):
    code = small_space.repair(np.full(small_space.length, kept, dtype=np.uint8))
    codes = proposal.propose(np.broadcast_to(code, (50, 2, len(code))), np.random.default_rng(0))
    assert all((small_space.repair(child) == child).all() for child in codes)
    assert (codes != code).any()


def from_parents(space: SearchSpace, child: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int, int]:
    """How many segments came whole from the first parent alone, from the second alone, and from neither."""
    origins = []
    for segment in space.segments:
        same = [bool((child[segment.slice] == parent[segment.slice]).all()) for parent in (first, second)]
        origins.append(tuple(same))
    return origins.count((True, False)), origins.count((False, True)), origins.count((False, False))


def test_crossover_takes_segments_whole_from_either_parent(small_space):
    parents = random_parents(small_space, 200)
    children = Evolution(small_space, crossover_rate=1.0).propose(parents, np.random.default_rng(0))
    origins = [from_parents(small_space, child, *pair) for child, pair in zip(children, parents, strict=True)]
    first, second, neither = np.array(origins).T
    assert neither.max() <= 3, "only mutation may change a segment, and at most three"
    assert abs(first.mean() - second.mean()) < 1 and min(first.mean(), second.mean()) > 3


def test_without_crossover_a_child_is_its_first_parent_but_for_a_mutation(small_space):
    parents = random_parents(small_space, 200)
    children = Evolution(small_space, crossover_rate=0.0).propose(parents, np.random.default_rng(0))
    changed = children != parents[:, 0]
    segments = np.array([changed[:, segment.slice].any(axis=1) for segment in small_space.segments]).sum(axis=0)
    assert segments.max() <= 3 and (segments > 0).mean() > 0.8


def test_most_steps_are_small_and_none_is_large(small_space):
    parents = random_parents(small_space, 500)
    children = Evolution(small_space, crossover_rate=0.0).propose(parents, np.random.default_rng(0))
    changed = children != parents[:, 0]
    for segment in small_space.segments:
        # an exchange changes as many bits that it cuts as it adds: twice 30 % of the width, rounded up
        assert changed[:, segment.slice].sum(axis=1).max() <= 2 * np.ceil(0.3 * segment.width)
    assert np.median(changed.sum(axis=1)) <= 0.05 * small_space.length


def test_mutation_both_cuts_and_adds(small_space):
    parents = random_parents(small_space, 500)
    children = Evolution(small_space, crossover_rate=0.0).propose(parents, np.random.default_rng(0))
    growth = children.sum(axis=1).astype(int) - parents[:, 0].sum(axis=1).astype(int)
    assert (growth > 0).mean() > 0.15 and (growth < 0).mean() > 0.15 and (growth == 0).mean() > 0.15
    assert abs(growth.mean()) < 0.5


def test_random_codes_cover_the_range_of_sizes(small_space):
    codes = Random(small_space, min_keep=0.2).propose(random_parents(small_space, 400), np.random.default_rng(0))
    share = codes.mean(axis=1)
    counts, _ = np.histogram(share, bins=[0.25, 0.4, 0.55, 0.7, 0.85, 1.0])
    assert counts.min() > 40, f"some sizes are rare: {counts}"
    assert share.min() > 0.1


def test_random_codes_of_one_size_keep_different_channels(small_space):
    codes = Random(small_space, min_keep=0.5).propose(random_parents(small_space, 400), np.random.default_rng(0))
    per_channel = codes.mean(axis=0)
    assert np.ptp(per_channel) < 0.15 and per_channel.min() > 0.6
