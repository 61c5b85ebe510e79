"""Gaussian process regression: against scikit-learn's, whose likelihoods and means are the truth here."""

from itertools import product

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from evoprune.search import gaussian_process as module
from evoprune.search.gaussian_process import GaussianProcess


def measured(number: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (number, 3))
    return points, np.sin(2 * points[:, 0]) + points[:, 1] ** 2 / 4 + rng.normal(0, noise, number)


def likeliest(points: np.ndarray, values: np.ndarray) -> GaussianProcessRegressor:
    """scikit-learn's process with the grid's likeliest length and noise, at the likeliest variance of each."""

    def fitted(length: float, noise: float) -> GaussianProcessRegressor:
        correlations = RBF(length)(points) + noise * np.eye(len(points))
        variance = values @ np.linalg.solve(correlations, values) / len(values)
        kernel = ConstantKernel(variance) * RBF(length)
        return GaussianProcessRegressor(kernel, alpha=variance * noise, optimizer=None).fit(points, values)

    every = [fitted(*pair) for pair in product(module._LENGTHS, module._NOISES)]
    return max(every, key=lambda one: one.log_marginal_likelihood_value_)


@pytest.mark.parametrize(("number", "noise"), [(20, 0.0), (60, 0.1), (60, 1.0)])
def test_means_are_those_of_another_library(number, noise):
    points, values = measured(number, noise)
    elsewhere = np.random.default_rng(1).uniform(-3, 3, (40, 3))
    expected = likeliest(points, values).predict(elsewhere)
    assert GaussianProcess(points, values).mean(elsewhere) == pytest.approx(expected, abs=1e-8)


def test_far_from_every_measurement_nothing_is_known():
    points, values = measured(30, 0.1)
    assert GaussianProcess(points, values).mean(np.full((1, 3), 1e3)) == pytest.approx([0.0])


def test_nothing_to_explain_explains_nothing():
    points, _ = measured(10, 0.1)
    assert GaussianProcess(points, np.zeros(10)).mean(points) == pytest.approx(np.zeros(10))


def test_the_same_point_twice_is_no_fault():
    points = np.zeros((4, 2))
    assert GaussianProcess(points, np.array([1.0, 2.0, 1.0, 2.0])).mean(points[:1]) == pytest.approx([1.5], abs=0.3)
