"""Whom NSGA-III keeps, against pymoo's own survival."""

from functools import partial
from math import comb

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival, niching
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.problems.static import StaticProblem

from evoprune import UserError
from evoprune.search import population
from evoprune.search.population import Population as Survivors
from evoprune.search.population import reference_directions


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("num_individual", [6, 12, 32, 100])
def test_directions_are_the_finest_grid_that_the_population_fills(num_objectives, num_individual):
    directions = reference_directions(num_objectives, num_individual)
    sizes = [comb(p + num_objectives - 1, num_objectives - 1) for p in range(1, 101)]
    assert len(directions) == max(size for size in sizes if size <= num_individual)
    assert np.allclose(directions.sum(axis=1), 1) and (directions >= 0).all()


def test_fewer_individuals_than_objectives_are_refused():
    with pytest.raises(UserError, match=r"search\.num_individual: got 3.*so 4"):
        reference_directions(4, 3)


@pytest.mark.parametrize("num_objectives", [2, 3])
@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("trade_off", [0, 40])
def test_survivors_are_those_of_pymoo(num_objectives, size, trade_off, monkeypatch):
    """Generations of `size` whose losses tie, break limits or have failed.

    Which one is left out where all others of its rank survive is another draw of the same chance: see below.

    With a trade-off most members are on one front, and what one more cannot change is not worked out again.
    """
    monkeypatch.setattr(population, "left_out", left_out_by_pymoo)
    rng, directions = np.random.default_rng(size), reference_directions(num_objectives, 12)
    problem = Problem(n_var=1, n_obj=num_objectives, n_ieq_constr=1, xl=0, xu=1)
    survival, theirs, ours = ReferenceDirectionSurvival(directions), Population.empty(), Survivors(directions)
    for step in range(200):
        number = 10 if step == 0 else size
        losses = rng.integers(0, 40, (number, num_objectives))
        losses[:, 1] += 5 * trade_off - 5 * losses[:, 0] * (trade_off > 0)
        losses = losses * np.array([1.0, 1e6, 1e-4])[:num_objectives]
        violations = np.where(rng.random(number) < 0.2, rng.integers(0, 4, number) / 2, 0.0)
        codes = np.full((number, 1), step % 2, dtype=np.uint8)
        told = Population.new("X", codes)
        Evaluator().eval(StaticProblem(problem, F=losses, G=violations[:, None]), told)
        theirs = survival.do(
            problem, Population.merge(theirs, told), n_survive=12, random_state=np.random.default_rng(step)
        )
        ours.add(codes, losses, violations)
        ours.cut(12, lambda step=step: np.random.default_rng(step))
        wanted = theirs.get("X"), theirs.get("F"), theirs.get("CV")[:, 0]
        found = ours.codes, ours.losses, ours.violations
        assert members(*found) == members(*wanted)
        ours.codes, ours.losses, ours.violations = wanted  # where one is left out, their order is another


def members(codes, losses, violations) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.column_stack([codes, losses, violations])))


def left_out_by_pymoo(niches, distances, count, make_rng) -> int:
    kept = niching(niches, len(niches) - 1, count.copy(), niches, distances, random_state=make_rng())
    (left,) = set(range(len(niches))) - set(kept)
    return left


@pytest.mark.parametrize("case", range(8))
def test_who_is_left_out_is_drawn_as_pymoo_draws_it(case):
    """The frequencies of 2,000 draws differ by no more than chance."""
    rng = np.random.default_rng(case)
    niches, count = rng.integers(0, 4, 6 if case else 1), rng.integers(0, 3, 4) * (case % 2)
    distances = rng.integers(0, 3, len(niches)).astype(float)  # some tie
    frequencies = [
        np.bincount(
            [draw(niches, distances, count, partial(np.random.default_rng, s)) for s in range(2000)], minlength=6
        )
        / 2000
        for draw in (population.left_out, left_out_by_pymoo)
    ]
    np.testing.assert_allclose(frequencies[0], frequencies[1], atol=0.06)
    assert ((frequencies[0] > 0) == (frequencies[1] > 0)).all()
