"""Codes of levels: what they keep and cost, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoprune.space.costs import code_costs
from evoprune.space.levels import KEPT_SHARES, LevelSpace, PrunedLayer, make_level_space

LEVELS = len(KEPT_SHARES)
TENTH, HALF = KEPT_SHARES.index(0.1) + 1, KEPT_SHARES.index(0.5) + 1


@pytest.fixture
def space() -> LevelSpace:
    layers = [PrunedLayer("one", "one.weight", 200, 64), PrunedLayer("two", "two.weight", 1000, 9)]
    return make_level_space("net", layers, (30, 500))


def code_of(*levels: int) -> np.ndarray:
    return np.concatenate([np.arange(LEVELS) < level for level in levels]).astype(np.uint8)


def test_costs_are_those_of_the_weights_that_stay(space):
    assert code_costs(space, code_of(HALF, TENTH)) == {
        "flops": 100 * 64 + 100 * 9 + 500, "params": 100 + 100 + 30, "bandwidth": 4 * 230
    }  # fmt: skip
    assert code_costs(space, space.full_code())["params"] == 1230
    assert code_costs(space, space.smallest_code())["params"] == 4 + 20 + 30


def test_a_level_is_how_many_bits_are_1(space):
    mixed = np.zeros(2 * LEVELS, dtype=np.uint8)
    mixed[[3, 9]] = 1
    assert np.array_equal(space.repair(mixed), code_of(2, 1))
    assert space.key(mixed) == space.key(code_of(2, 1)) != space.key(code_of(1, 2))
    assert space.sparsities(mixed) == {"one": 0.95, "two": 0.98}


@given(st.lists(st.integers(0, 1), min_size=2 * LEVELS, max_size=2 * LEVELS))
def test_repair_changes_no_cost_and_is_done_once(bits):
    space = make_level_space("net", [PrunedLayer("a", "a", 7, 3), PrunedLayer("b", "b", 11, 2)], (0, 0))
    repaired = space.repair(bits)
    assert np.array_equal(space.repair(repaired), repaired)
    assert code_costs(space, bits) == code_costs(space, repaired)
    assert np.array_equal(space.count(repaired), np.maximum(space.count(np.array(bits)), 1))
