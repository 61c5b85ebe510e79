"""What tables and pictures point out, by hand."""

import numpy as np

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.picks import alone_line, knee_of


def test_groups_that_cost_a_point_with_a_tenth_gone_are_left_alone(small_space):
    rates = tuple(np.array([0.0, 0.1, 0.5]) for _ in small_space.groups)
    losses = [np.array([0.0, 1.0, 2.0]) for _ in small_space.groups]
    assert alone_line(Curves(small_space, rates, tuple(losses))).endswith(": none")
    losses[1] = losses[3] = np.array([0.0, 1.2, 2.0])
    names = f"{small_space.groups[1].name}, {small_space.groups[3].name}"
    assert alone_line(Curves(small_space, rates, tuple(losses))).endswith(f": {names}")


def test_the_knee_is_the_farthest_above_the_line_between_both_ends():
    """By hand: above the line from (0, 100) to (1, 0) by 0, 0.2, 0.3, 0.1, 0."""
    rows = [{"sparsity": x / 4, "accuracy": y} for x, y in enumerate((100, 95, 80, 35, 0))]
    assert knee_of(rows) is rows[2]
    assert knee_of([{"sparsity": x / 4, "accuracy": 10} for x in range(5)])["sparsity"] == 1
    again = [*rows, {"sparsity": 1.125, "accuracy": -300}, {"sparsity": 1.25, "accuracy": 0}]
    assert knee_of(again) is rows[2], "a row that another one beats does not stretch the scale"
    assert knee_of([*rows, {"sparsity": 1.25, "accuracy": None}]) is rows[2], "its output was not finite"
