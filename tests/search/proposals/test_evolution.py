"""What evolution promises: first codes over the costs, small steps, ties, and a prior that fades."""

import numpy as np
import pytest
from helpers import NINE_CODES, random_scores
from searching import flops_shares, make_proposal, random_parents

from evoprune import load_search_space
from evoprune.config import SearchConfig
from evoprune.search.proposals.evolution import Evolution
from evoprune.space.costs import compute_costs
from evoprune.space.limits import Limits
from evoprune.space.ranking import Scores, mid_ranks
from evoprune.space.space import SearchSpace


def make_evolution(space: SearchSpace, scores: Scores | None = None, **config: float) -> Evolution:
    highest = float(compute_costs(space, space.full_code())["flops"][0])
    return Evolution(Limits(space, {}), SearchConfig(**config), scores, (0.04 * highest, highest))


def tied_parents(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    """Random parents whose tied segments keep the same channels."""
    parents = random_parents(space, count, seed)
    for group in space.groups:
        for place in group.slices:
            parents[..., place] = parents[..., group.slices[0]]
    return parents


def changed_groups(space: SearchSpace, children: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """In how many groups each child differs from its parent."""
    changed = children != parents
    return sum(np.any([changed[:, place].any(axis=1) for place in group.slices], axis=0) for group in space.groups)


# --- first codes


@pytest.mark.parametrize("with_prior", [True, False])
def test_first_codes_stand_one_in_each_range_of_flops(with_prior):
    """But for 3 points, as counts of channels are whole."""
    space = load_search_space("resnet20")
    evolution = make_evolution(space, random_scores(space) if with_prior else None)
    edges = np.linspace(0.04, 1, 7)
    for seed in range(4):
        shares = np.sort(flops_shares(space, evolution.first(6, np.random.default_rng(seed))))
        assert (shares > edges[:-1] - 0.03).all() and (shares < edges[1:] + 0.03).all(), shares


@pytest.mark.parametrize("cost", ["params", "bandwidth"])
def test_first_codes_keep_every_limit_that_needs_no_measurement(cost):
    space = load_search_space("resnet20")
    highest = {name: float(values[0]) for name, values in compute_costs(space, space.full_code()).items()}
    limits = Limits(space, {cost: (0.0, 0.5 * highest[cost])})
    evolution = Evolution(limits, SearchConfig(), None, (0.04 * highest["flops"], highest["flops"]))
    codes = evolution.first(40, np.random.default_rng(0))
    costs = compute_costs(space, codes)[cost]
    assert costs.max() <= 0.5 * highest[cost] and np.mean(costs > 0.4 * highest[cost]) > 0.3
    tied = next(group for group in space.groups if len(group.slices) > 1)
    assert all((codes[:, part] == codes[:, tied.slices[0]]).all() for part in tied.slices)


def test_first_codes_keep_more_of_the_groups_with_offsets(small_space):
    highest = float(compute_costs(small_space, small_space.full_code())["flops"][0])
    offsets = np.zeros(len(small_space.groups))
    offsets[[0, 1]] = 0.3, -0.3
    codes = Evolution(Limits(small_space, {}), SearchConfig(), None, (0.2 * highest, 0.4 * highest), offsets).first(
        60, np.random.default_rng(0)
    )
    more, less = (codes[:, segment.slice].mean() for segment in small_space.segments[:2])
    assert more > less + 0.2  # 0.6 times one half on average, less what rounding and full segments take
    shares = flops_shares(small_space, codes)
    assert shares.min() > 0.17 and shares.max() < 0.43


def test_first_codes_keep_the_range_that_limits_leave(small_space):
    evolution = make_proposal(small_space, proposal="evolution", limits={"flops": {"min": "30%", "max": "50%"}})
    shares = flops_shares(small_space, evolution.first(20, np.random.default_rng(0)))
    assert shares.min() > 0.27 and shares.max() <= 0.5
    assert shares.max() - shares.min() > 0.14


def test_first_codes_keep_a_limit_below_what_min_keep_leaves(small_space):
    evolution = make_proposal(small_space, limits={"flops": {"max": "4%"}}, min_keep=0.5)
    shares = flops_shares(small_space, evolution.first(20, np.random.default_rng(0)))
    assert (shares <= 0.04).mean() > 0.7


def test_first_codes_need_no_adapter(small_space):
    codes = make_evolution(small_space, random_scores(small_space)).first(20, np.random.default_rng(0))
    assert not any(small_space.adapters(code) for code in codes)


# --- children


def test_crossover_takes_groups_whole_from_either_parent(small_space):
    parents = tied_parents(small_space, 300)
    children = make_evolution(small_space, crossover_rate=1.0).propose(parents, 0.0, np.random.default_rng(0))
    origins = np.empty((300, len(small_space.groups), 2), dtype=bool)
    for index, group in enumerate(small_space.groups):
        for parent in (0, 1):
            same = [(children[:, place] == parents[:, parent, place]).all(axis=1) for place in group.slices]
            origins[:, index, parent] = np.all(same, axis=0)
    first, second = origins[..., 0] & ~origins[..., 1], origins[..., 1] & ~origins[..., 0]
    assert np.median((~origins.any(axis=2)).sum(axis=1)) <= 3, "a mutation changes few groups, as a rule"
    assert abs(first.sum(axis=1).mean() - second.sum(axis=1).mean()) < 1
    assert min(first.sum(axis=1).mean(), second.sum(axis=1).mean()) > 2.5


def test_without_crossover_a_child_is_its_first_parent_but_for_a_mutation(small_space):
    parents = tied_parents(small_space, 300)
    children = make_evolution(small_space, crossover_rate=0.0).propose(parents, 0.0, np.random.default_rng(0))
    changed = changed_groups(small_space, children, parents[:, 0])
    assert np.median(changed) <= 3 and (changed > 0).mean() > 0.8
    nearer = (children != parents[:, 0]).sum(axis=1) < (children != parents[:, 1]).sum(axis=1)
    assert nearer.mean() > 0.95


def test_most_steps_are_small_and_none_is_large(small_space):
    parents = tied_parents(small_space, 500)
    children = make_evolution(small_space, crossover_rate=0.0).propose(parents, 0.0, np.random.default_rng(0))
    changed = (children != parents[:, 0]).sum(axis=1)
    assert np.median(changed) <= 0.05 * small_space.length
    assert changed.max() <= 0.5 * small_space.length


def test_mutations_cut_return_and_exchange(small_space):
    parents = tied_parents(small_space, 500)
    children = make_evolution(small_space, crossover_rate=0.0).propose(parents, 0.0, np.random.default_rng(0))
    growth = children.sum(axis=1).astype(int) - parents[:, 0].sum(axis=1).astype(int)
    exchanged = (growth == 0) & (children != parents[:, 0]).any(axis=1)
    assert (growth > 0).mean() > 0.15 and (growth < 0).mean() > 0.15 and exchanged.mean() > 0.05
    assert abs(growth.mean()) < 0.01 * small_space.length


def test_a_mutation_never_empties_a_segment_of_several_channels(small_space):
    parents = np.broadcast_to(small_space.smallest_code(), (300, 2, small_space.length))
    children = make_evolution(small_space).propose(parents, 0.0, np.random.default_rng(0))
    assert (small_space.count(children) == 0).any(axis=1).mean() < 0.1, "a single bit may, which repair mends"


def test_tied_segments_change_together_but_for_about_one_child_in_ten(small_space):
    parents = tied_parents(small_space, 800)
    children = make_evolution(small_space).propose(parents, 0.0, np.random.default_rng(0))
    ((stem, final),) = [group.slices for group in small_space.groups if len(group.slices) == 2]
    changed = (children != parents[:, 0])[:, [*range(stem.start, stem.stop), *range(final.start, final.stop)]].any(
        axis=1
    )
    apart = (children[:, stem] != children[:, final]).any(axis=1)
    assert changed.sum() > 120
    assert 0.02 < apart[changed].mean() < 0.3


# --- the prior


def cut_less_kept(space: SearchSpace, scores: Scores, parents: np.ndarray, children: np.ndarray) -> tuple[float, float]:
    """Mean rank of the channels cut less that of those that could have been cut, and the same of those returned."""
    rank, first = mid_ranks(space, scores), parents[:, 0]
    cut, returned = (first == 1) & (children == 0), (first == 0) & (children == 1)
    ranked = np.broadcast_to(rank, first.shape)
    return (
        float(ranked[cut].mean() - ranked[first == 1].mean()),
        float(ranked[returned].mean() - ranked[first == 0].mean()),
    )


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_prior_decides_what_goes_and_what_comes_until_it_has_faded(small_space, rate):
    """Both parents are the same, so that crossover alone changes nothing."""
    scores = random_scores(small_space)
    parents = tied_parents(small_space, 800)[:, [0, 0]]
    evolution = make_evolution(small_space, scores, crossover_rate=rate, prior_fade=0.5)
    cut, returned = zip(
        *(
            cut_less_kept(small_space, scores, parents, evolution.propose(parents, at, np.random.default_rng(1)))
            for at in (0.0, 0.25, 0.5)
        ),
        strict=True,
    )
    assert cut[0] < cut[1] - 0.03 < -0.06 and returned[0] > returned[1] + 0.03 > 0.06
    assert max(abs(cut[2]), abs(returned[2])) < 0.05, "0.5 is all of prior_fade"


def test_without_a_prior_every_channel_is_as_likely(small_space):
    parents = tied_parents(small_space, 800)[:, [0, 0]]
    children = make_evolution(small_space).propose(parents, 0.0, np.random.default_rng(2))
    assert np.abs(cut_less_kept(small_space, random_scores(small_space), parents, children)).max() < 0.05


@pytest.mark.parametrize("with_prior", [True, False])
def test_first_codes_keep_the_more_important_channels_where_there_is_a_prior(small_space, with_prior):
    scores = random_scores(small_space)
    codes = make_evolution(small_space, scores if with_prior else None).first(60, np.random.default_rng(0))
    rank = np.broadcast_to(mid_ranks(small_space, scores), codes.shape)
    difference = rank[codes == 1].mean() - rank[codes == 0].mean()
    assert difference > 0.15 if with_prior else abs(difference) < 0.05


def test_a_code_may_have_fewer_bits_than_a_step_turns(tmp_path):
    (tmp_path / "two.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "two.yaml"), width=1, num_classes=2, in_channels=1, image_size=4)
    assert space.length == 2
    children = make_evolution(space).propose(np.ones((200, 2, 2), dtype=np.uint8), 0.0, np.random.default_rng(0))
    assert set(map(tuple, children)) == {(0, 0), (0, 1), (1, 0), (1, 1)}, "repair comes later"
