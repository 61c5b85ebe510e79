"""What is known of a function between the points at which it was measured."""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_LENGTHS = (0.25, 0.5, 1.0)
_NOISES = (0.1, 0.3, 1.0, 3.0)  # variance of a measurement, against that of the function


class GaussianProcess:
    """Gaussian process regression around 0 (Rasmussen and Williams, 2006, algorithm 2.1 and section 5.4.1).

    The kernel is the squared exponential, with one length for all dimensions. Length and noise are those of a grid
    under which the measurements are likeliest: rounding changes that less than where an optimiser ends. The
    mean is that of `sklearn.gaussian_process`, whose import costs every search a second.

    Args:
        points: where the function was measured, shape (n, dimensions).
        values: what was measured, shape (n,).
    """

    def __init__(self, points: Values, values: Values):
        self._points = points
        distances = _squared_distances(points, points)
        fits = [_fit(distances, values, length, noise) for length in _LENGTHS for noise in _NOISES]
        _, self._length, self._weights = max(fits, key=lambda fit: fit[0])

    def mean(self, points: Values) -> Values:
        """Expected values at `points` of shape (m, dimensions), shape (m,)."""
        result: Values = _kernel(_squared_distances(points, self._points), self._length) @ self._weights
        return result


def _fit(distances: Values, values: Values, length: float, noise: float) -> tuple[float, float, Values]:
    """Logarithm of the likelihood (up to a constant, at the likeliest variance), length, and weights of the points."""
    number = len(values)
    lower = np.linalg.cholesky(_kernel(distances, length) + noise * np.eye(number))
    weights = np.linalg.solve(lower.T, np.linalg.solve(lower, values))
    variance = max(float(values @ weights) / number, np.finfo(np.float64).tiny)
    return -number / 2 * np.log(variance) - float(np.log(np.diag(lower)).sum()), length, weights


def _kernel(squared: Values, length: float) -> Values:
    result: Values = np.exp(squared / (-2 * length**2))
    return result


def _squared_distances(first: Values, second: Values) -> Values:
    cross = first @ second.T
    result: Values = np.maximum(0.0, (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * cross)
    return result
