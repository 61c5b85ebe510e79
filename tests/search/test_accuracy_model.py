"""Predicted accuracies: by hand where nothing is measured, nearer to the truth where something is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune.search.accuracy_model import AccuracyModel

RATES = np.array([0.0, 0.5, 1.0])
CURVES = [(RATES, np.array([0.0, 1.0, 20.0])), (RATES, np.array([0.0, 10.0, 70.0])), (RATES, np.array([0.0, 3.0, 2.0]))]


@pytest.fixture
def model() -> AccuracyModel:
    return AccuracyModel(CURVES, base=90.0, chance=10.0)


def test_the_base_network_has_its_own_accuracy(model):
    assert model.predict(np.ones((1, 3))) == pytest.approx([90.0])


def test_one_group_by_hand(model):
    """Half of the second group's channels cost 10 of 80 points alone."""
    alone = -80 * np.log(1 - 10 / 80)
    lost = 0.7 * alone + 0.2 * np.log(0.5) ** 2 + 0.5 * alone**2 / 80
    assert model.predict(np.array([[1.0, 0.5, 1.0]])) == pytest.approx([10 + 80 * np.exp(-lost / 80)])


def test_a_curve_that_rises_again_is_taken_as_flat(model):
    """Down to nothing the third group gains a point, which is noise: but for its width, it loses 3 as at one half."""
    alone = -80 * np.log(1 - 3 / 80)
    lost = 0.7 * alone + 0.2 * np.log(0.1) ** 2 + 0.5 * alone**2 / 80
    assert model.predict(np.array([[1.0, 1.0, 0.1]])) == pytest.approx([10 + 80 * np.exp(-lost / 80)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
def test_wider_is_better_and_nothing_is_worse_than_chance(values):
    model = AccuracyModel(CURVES, base=90.0, chance=10.0)
    first, second = np.array(values).reshape(2, 3)
    wide, narrow = model.predict(np.stack([np.maximum(first, second), np.minimum(first, second)]))
    assert 10 <= narrow <= wide + 1e-9 <= 90 + 1e-9


def test_measurements_bring_it_nearer_to_the_truth(model):
    """A network in which the first group matters three times as much as its curve says, and the second a third."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 1, (60, 3))
    curves = [(RATES, losses * factor) for (_, losses), factor in zip(CURVES, (3.0, 0.33, 1.0), strict=True)]
    truth = AccuracyModel(curves, base=90.0, chance=10.0).predict(shares)
    before = np.abs(model.predict(shares) - truth).mean()
    model.fit(shares[:30], truth[:30] + rng.normal(0, 0.5, 30))
    after = np.abs(model.predict(shares[30:]) - truth[30:]).mean()
    assert after < before / 2


def test_a_promise_keeps_to_the_curves():
    """A quarter of the way from what the curves said first to what is measured."""
    model = AccuracyModel(CURVES, base=90.0, chance=10.0, trust=0.25)
    shares = np.random.default_rng(0).uniform(0.2, 1, (20, 3))
    first = model.predict(shares)
    assert model.promise(shares) == pytest.approx(first), "nothing is measured yet"
    model.fit(shares, first - 5)
    learned = model.predict(shares)
    assert (learned < first - 2).all()
    assert model.promise(shares) == pytest.approx(0.75 * first + 0.25 * learned)


def test_one_measurement_changes_little(model):
    shares = np.array([[0.6, 0.6, 0.6]])
    before = model.predict(shares)
    model.fit(shares, before - 3.0)
    assert before - 3.0 < model.predict(shares) < before


def test_whatever_was_measured_predictions_are_finite(model):
    shares = np.array([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.1, 0.1, 0.1]])
    model.fit(shares, np.array([0.0, 100.0, 50.0]))
    assert np.isfinite(model.predict(shares)).all()


def test_what_no_sum_explains_is_learned_too(model):
    """Two groups that may not both be narrow: codes of the same widths in another order differ by 10 points."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 1, (120, 3))
    truth = AccuracyModel(CURVES, base=90.0, chance=10.0).predict(shares)
    truth -= 10 * np.exp(-20 * ((shares[:, 0] - 0.3) ** 2 + (shares[:, 1] - 0.3) ** 2))
    model.fit(shares[:80], truth[:80])
    left = np.abs(model.predict(shares[80:]) - truth[80:]).mean()
    model._rest = None
    assert left < np.abs(model.predict(shares[80:]) - truth[80:]).mean() / 2
