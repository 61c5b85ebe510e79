"""First codes of one ranking of all weights: the thresholds by hand."""

import numpy as np
import pytest
from searching import small_config

from evoprune.search.proposals.thresholds import Thresholds
from evoprune.space.costs import code_costs
from evoprune.space.levels import KEPT_SHARES, LevelSpace, PrunedLayer, make_level_space

LEVELS = len(KEPT_SHARES)


@pytest.fixture
def space() -> LevelSpace:
    return make_level_space("net", [PrunedLayer("big", "b", 1000, 1), PrunedLayer("small", "s", 1000, 1)], (0, 0))


@pytest.fixture
def magnitudes() -> np.ndarray:
    """The weights of the first layer are all larger than those of the second."""
    falling = np.linspace(2, 1, LEVELS)
    return np.concatenate([10 * falling, falling])


def test_the_layer_of_small_weights_is_emptied_first(space, magnitudes):
    proposal = Thresholds(space, small_config(), magnitudes)
    codes = proposal.first(9, np.random.default_rng(0))
    params = np.array([code_costs(space, code)["params"] for code in codes])
    assert (params <= np.geomspace(40, 2000, 10)[1:]).all()
    for place in range(9):
        widths = space.widths(codes[place])
        if place % 2 == 0:
            assert widths["small"] == 1 or widths["big"] == LEVELS
    assert params[0] < 70 and params[-1] > 1000 and np.all(np.diff(params) >= 0)


def test_every_second_code_has_thresholds_of_its_own(space):
    equal = np.tile(np.linspace(2, 1, LEVELS), 2)
    codes = Thresholds(space, small_config(), equal).first(20, np.random.default_rng(0))
    levels = np.array([list(space.widths(code).values()) for code in codes])
    assert (levels[::2, 0] == levels[::2, 1]).all()
    assert (levels[1::2, 0] != levels[1::2, 1]).mean() > 0.5


def test_children_are_codes_of_the_space(space, magnitudes):
    proposal = Thresholds(space, small_config(), magnitudes)
    parents = np.stack([proposal.first(2, np.random.default_rng(0))] * 3)
    children = proposal.propose(parents, 0.5, np.random.default_rng(1))
    assert children.shape == (3, space.length) and set(np.unique(children)) <= {0, 1}
