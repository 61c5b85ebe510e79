"""Dominance, hypervolume and picks from a front, against brute force, pymoo and pictures in the head."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymoo.indicators.hv import HV

from evoprune.search.pareto import crowding, hypervolume, knees, non_dominated, pareto_ranks, spread

# Few different values: equal rows and equal coordinates come often.
losses = st.tuples(st.integers(0, 12), st.integers(2, 5)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(-3, 3).map(float))
)
inside_unit = st.tuples(st.integers(1, 12), st.integers(2, 4)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(0, 12).map(lambda value: value / 10))
)


def dominates(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((first <= second).all() and (first < second).any())


@given(losses)
def test_non_dominated_is_what_nothing_dominates(points):
    wanted = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == wanted


def test_equal_rows_stay_together():
    assert non_dominated(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])).tolist() == [
        True,
        True,
        True,
        False,
    ]
    assert non_dominated(np.zeros((3, 2))).all()


# Rank 0: 0, 1, 2, 3; rank 1: 4, 5; rank 2: 6. Candidates 1 and 2 stand close together.
LOSSES = np.array([[0.0, 10.0], [4.0, 5.0], [4.5, 4.5], [10.0, 0.0], [4.0, 6.0], [9.0, 5.0], [9.5, 9.5]])


def test_ranks_by_hand():
    assert pareto_ranks(LOSSES).tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert pareto_ranks(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]])).tolist() == [0, 0, 1]
    assert pareto_ranks(np.zeros((0, 2))).tolist() == []


def test_crowding_by_hand():
    """Of the first front, both objectives scaled by 10: 1 has 0.45 + 0.55 between its neighbours, 2 has 0.6 + 0.5."""
    assert crowding(LOSSES[:4]) == pytest.approx([np.inf, 1.0, 1.1, np.inf])
    assert crowding(np.zeros((0, 2))).tolist() == []


@given(inside_unit)
def test_hypervolume_is_that_of_pymoo(points):
    reference = np.ones(points.shape[1])
    assert hypervolume(points, reference) == pytest.approx(HV(ref_point=reference)(points), abs=1e-9)


def test_hypervolume_by_hand():
    reference = np.array([4.0, 4.0])
    assert hypervolume(np.array([[1.0, 3.0]]), reference) == pytest.approx(3.0)
    # 3 x 1, and what the second adds: 2 x (3 - 2), and the third: 1 x (2 - 1)
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), reference) == pytest.approx(6.0)
    assert hypervolume(np.array([[1.0, 1.0, 1.0]]), np.array([2.0, 3.0, 4.0])) == pytest.approx(6.0)


def test_points_outside_the_reference_count_nothing():
    reference = np.array([1.0, 1.0])
    assert hypervolume(np.array([[0.0, 2.0], [1.0, 0.0]]), reference) == 0.0
    assert hypervolume(np.zeros((0, 2)), reference) == 0.0
    assert hypervolume(np.array([[0.5, 0.5], [-9.0, 1.5]]), reference) == pytest.approx(0.25)


def line(count: int) -> np.ndarray:
    """A straight front, ordered from the largest to the smallest last loss."""
    steps = np.linspace(0, 1, count)
    return np.stack([steps, 1 - steps], axis=1)


@pytest.mark.parametrize(
    ("count", "wanted"), [(1, {10}), (2, {0, 10}), (3, {0, 5, 10}), (6, {0, 2, 4, 6, 8, 10}), (99, set(range(11)))]
)
def test_spread_goes_evenly_from_end_to_end(count, wanted):
    picked = spread(line(11), count)
    assert set(picked) == wanted and len(picked) == len(wanted)


def test_spread_does_not_depend_on_the_order_of_rows():
    front = line(11)
    order = np.random.default_rng(0).permutation(11)
    first = {tuple(front[index]) for index in spread(front, 4)}
    assert {tuple(front[order][index]) for index in spread(front[order], 4)} == first


def test_spread_does_not_crowd_where_the_front_is_crowded():
    front = np.array([(1.0, 0.0), (0.99, 0.01), (0.98, 0.02), (0.97, 0.03), (0.5, 0.5), (0.0, 1.0)])
    assert spread(front, 3) == [0, 4, 5]


def test_spread_of_nothing_is_nothing():
    assert spread(np.zeros((0, 2)), 3) == []


def bent_front() -> np.ndarray:
    """Two straight legs that meet at a corner: index 5 is the knee."""
    down = [(0.02 * i, 1 - 0.18 * i) for i in range(6)]
    along = [(0.1 + 0.18 * i, 0.1 - 0.02 * i) for i in range(1, 6)]
    return np.array(down + along)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1e-3, 1.0), (50.0, 4e7)])
def test_the_corner_of_a_front_is_its_first_knee(scale):
    front = bent_front() * np.array(scale)
    assert knees(front, count=1) == [5]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=40, unique=True))
def test_the_first_knee_is_the_farthest_from_the_line_between_the_ends(points):
    """Whatever dents the front has."""
    losses = np.array(points)
    front = losses[non_dominated(losses)]
    front = front[np.argsort(front[:, 0])]
    assume(len(front) > 2 and np.ptp(front, axis=0).min() > 1e-3)
    start, end = front[0], front[-1]
    along = (end - start) / np.ptp(front, axis=0)
    to = (front - start) / np.ptp(front, axis=0)
    below = along[0] * -to[:, 1] - along[1] * -to[:, 0]
    assume(below.max() > 1e-6)
    assert below[knees(front, 1)[0]] == pytest.approx(below.max())


def test_the_next_knees_are_those_of_both_parts():
    """Corners at indices 2, 5 and 8; that of the whole front is the one in the middle."""
    dear = [(0.0, 20.0), (0.1, 15.0), (0.2, 10.0), (0.8, 7.0), (1.4, 4.0), (2.0, 1.0)]
    cheap = [(4.0, 0.77), (6.0, 0.53), (8.0, 0.3), (14.0, 0.15), (20.0, 0.0)]
    assert knees(np.array(dear + cheap))[0] == 5 and set(knees(np.array(dear + cheap))) == {5, 2, 8}


def test_a_front_without_a_bend_has_the_one_that_is_best_in_the_first_objective():
    assert knees(line(11)) == [0] and knees(line(11)[::-1]) == [10]
    round_outwards = np.array([(0.0, 1.0), (0.7, 0.9), (0.9, 0.7), (1.0, 0.0)])
    assert knees(round_outwards) == [0]


def test_a_knee_is_found_wherever_it_stands():
    front = bent_front()
    order = np.random.default_rng(1).permutation(len(front))
    (found,) = knees(front[order], count=1)
    assert order[found] == 5


def test_knees_in_three_objectives():
    corner = np.array([[0.1, 0.1, 0.1]])
    ends = np.array([[0.0, 0.9, 1.0], [1.0, 0.0, 0.9], [0.9, 1.0, 0.0]])
    assert knees(np.concatenate([ends, corner]), count=1) == [3]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_front_of_at_most_two_points_is_all_knees(size):
    assert knees(line(11)[:size]) == list(range(size))


def test_never_more_knees_than_asked_for():
    assert knees(np.array([(2.0, 1.0), (1.0, 2.0)]), count=1) == [1]
    assert knees(bent_front()) == [5], "its legs are straight"
    curve = np.stack([np.linspace(1, 9, 40), 1 / np.linspace(1, 9, 40)], axis=1)
    assert [len(set(knees(curve, count=count))) for count in (1, 2, 3, 5)] == [1, 2, 3, 5]
