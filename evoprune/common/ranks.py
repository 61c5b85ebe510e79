"""Places of numbers in their order, and how far two orders agree."""

from typing import Any

import numpy as np
import numpy.typing as npt


def ranks_of(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rank of each value, shape (n,): 0.5 for the smallest, n - 0.5 for the largest; of equal ones their mean."""
    ordered = np.sort(values)
    ranks: npt.NDArray[np.float64] = (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2
    return ranks


def spearman(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two arrays of shape (n,), n at least 1; None where one has no order."""
    ranks = ranks_of(first), ranks_of(second)
    return float(np.corrcoef(*ranks)[0, 1]) if all(map(np.ptp, ranks)) else None
