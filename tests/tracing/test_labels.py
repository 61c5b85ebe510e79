"""Labels: classes of tied labels."""

import numpy as np

from evoprune.tracing.labels import Labels


def classes(labels: Labels) -> list[int]:
    return labels.find(np.arange(labels.count)).tolist()


def test_fresh_labels_are_alone():
    labels = Labels()
    assert labels.fresh(2).tolist() == [0, 1] and labels.fresh(3).tolist() == [2, 3, 4]
    assert classes(labels) == [0, 1, 2, 3, 4]


def test_ties_are_one_by_one_and_reach_through_others():
    labels = Labels()
    first, second, third = labels.fresh(2), labels.fresh(2), labels.fresh(2)
    labels.tie(second, third)
    labels.tie(third, first[::-1])
    assert classes(labels) == [0, 1, 1, 0, 1, 0]


def test_long_chains_of_ties_in_any_order_are_one_class():
    labels = Labels()
    chain = labels.fresh(50)
    order = np.random.default_rng(0).permutation(49)
    for index in order:
        labels.tie(chain[index + 1 : index + 2], chain[index : index + 1])
    assert set(classes(labels)) == {0}


def test_ties_of_repeated_labels_and_of_matrices():
    labels = Labels()
    labels.fresh(4)
    labels.tie(np.array([[0, 0], [0, 0]]), np.array([[0, 1], [2, 0]]))
    assert classes(labels) == [0, 0, 0, 3]


def test_pins_are_kept_with_their_reason_and_nothing_is_pinned_of_an_axis_without_labels():
    labels = Labels()
    labels.pin(None, "no")
    labels.pin(labels.fresh(0), "nor this")
    labels.pin(labels.fresh(1), "why")
    assert [(found.tolist(), reason) for found, reason in labels.pins] == [([0], "why")]
