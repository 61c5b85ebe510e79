"""Ranks and their correlation, as SciPy has them."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from evoprune.common.ranks import ranks_of, spearman


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranks_of(np.array([3.0, 1.0, 3.0, -np.inf])).tolist() == [3.0, 1.5, 3.0, 0.5]
    values = np.random.default_rng(0).integers(0, 9, 40)
    assert np.array_equal(ranks_of(values), rankdata(values) - 0.5)


def test_the_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 40), rng.normal(size=40)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman(second, -(second**3)) == pytest.approx(-1)


def test_without_an_order_there_is_none():
    assert spearman(np.ones(3), np.arange(3)) is None
    assert spearman(np.ones(1), np.ones(1)) is None
