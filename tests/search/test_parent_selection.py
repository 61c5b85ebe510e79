"""Who has children: those that keep the limits, and those beside gaps of the front."""

import numpy as np

from evoprune.search.parent_selection import choose_parents

LINE = np.array([[0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [1.0, 0.0]])
"""A front whose widest gaps are beside its third and fourth member."""


def chosen(losses: np.ndarray, violations: np.ndarray, number: int = 4000) -> np.ndarray:
    return choose_parents(losses, violations, number, np.random.default_rng(0))


def test_pairs_of_members():
    pairs = chosen(LINE, np.zeros(5))
    assert pairs.shape == (4000, 2)
    assert set(np.unique(pairs)) == set(range(5))


def test_the_generator_decides_everything():
    first, again, other = (choose_parents(LINE, np.zeros(5), 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and not (first == other).all()


def test_first_parents_come_from_beside_the_gaps_and_second_ones_from_anywhere():
    """Crowding distances by hand: 0.4, 1.4 and 1.6 inside; an end counts as the widest, 1.6. Half are drawn so."""
    first, second = (np.bincount(column, minlength=5) / 4000 for column in chosen(LINE, np.zeros(5)).T)
    distance = np.array([1.6, 0.4, 1.4, 1.6, 1.6])
    assert np.abs(first - (0.5 * distance / distance.sum() + 0.5 / 5)).max() < 0.03
    assert np.abs(second - 1 / 5).max() < 0.03


def test_less_violation_wins_tournaments_and_only_who_keeps_the_limits_is_of_the_front():
    """With one member of two within the limits, it is in 3 of 4 tournaments, and alone on the front."""
    pairs = chosen(LINE[:2], np.array([0.0, 1.0]))
    assert abs((pairs[:, 1] == 0).mean() - 3 / 4) < 0.03
    assert abs((pairs[:, 0] == 0).mean() - (0.5 + 0.5 * 3 / 4)) < 0.03


def test_where_nobody_keeps_the_limits_tournaments_decide_alone():
    pairs = chosen(LINE[:2], np.array([2.0, 1.0]))
    assert np.abs((pairs == 1).mean(axis=0) - 3 / 4).max() < 0.03


def test_dominated_members_are_no_part_of_the_front():
    losses = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert abs((chosen(losses, np.zeros(2))[:, 0] == 0).mean() - 0.75) < 0.03
