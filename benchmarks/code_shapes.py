"""Codes of a given shape, the widths of the layers against each other, for any number of multiply-adds."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Scores, fill, keep_best, prune_global, prune_to_flops, prune_uniform
from evoprune.space.space import Code, SearchSpace
from evoprune.stages.context import Context

CodeOf = Callable[[float], Code]
"""The code of a shape that has at most so many multiply-adds, and nearly as many."""
Widths = npt.NDArray[np.float64]
"""Share of its channels that each of the search space's groups keeps."""
SPREADS = (0.15, 0.3)
"""Of random shapes around the uniform one, in the logarithm of the widths."""


def usual_shapes(context: Context) -> Iterator[tuple[str, CodeOf]]:
    """The shapes that rankings of channels have."""
    space, scores = context.space, context.scores("magnitude")
    yield "uniform", partial(prune_to_flops, space, scores, prune_uniform)
    yield "by least squares error", partial(prune_to_flops, space, scores, prune_global)


def sensitivity_shapes(context: Context, curves: Curves) -> Iterator[tuple[str, CodeOf]]:
    """Shapes that keep more of what costs more accuracy when it is pruned alone."""
    for strength in (0.5, 1.0):
        offsets = strength * curves.offsets()
        shape = partial(_of_shape, context.space, context.scores("magnitude"), partial(np.add, offsets))
        yield f"by sensitivity x {strength:g}", shape


def random_shapes(context: Context, count: int) -> Iterator[tuple[str, CodeOf]]:
    """Shapes at random around the uniform one."""
    space, rng = context.space, np.random.default_rng(0)
    for number in range(count):
        spread = SPREADS[number % len(SPREADS)]
        factors = np.exp(rng.normal(0, spread, len(space.groups)))
        shape = partial(_of_shape, space, context.scores("magnitude"), partial(np.multiply, factors))
        yield f"random {spread:g}, {number}", shape


def front_codes(context: Context, fronts: pd.DataFrame, shares: list[float]) -> Iterator[tuple[str, float, Code]]:
    """Of every proposal's fronts the most accurate code of each share, filled up, and two mutants of it."""
    space, scores, rng = context.space, context.scores("magnitude"), np.random.default_rng(1)
    full = code_costs(space, space.full_code())["flops"]
    for proposal, front in fronts.groupby("proposal"):
        for share in shares:
            small = front[front["flops"] <= share * full]
            code = space.parse_code(small.loc[small["accuracy"].idxmax(), "code"])
            yield f"front, {proposal}", share, fill(space, scores, (code, space.full_code()), share * full)
            widths = np.array([group.of(code).mean() for group in space.groups])
            for number in range(2):
                mutated = widths * np.exp(rng.normal(0, SPREADS[0], len(widths)))
                shape = partial(_of_shape, space, scores, partial(np.multiply, mutated))
                yield f"front, {proposal}, mutant {number}", share, shape(share * full)


def _of_shape(space: SearchSpace, scores: Scores, shape: Callable[[float], Widths], most: float) -> Code:
    """The code of the highest level of a shape that has no more than `most` multiply-adds, filled up."""

    def code_at(level: float) -> Code:
        widths = np.array([group.width for group in space.groups])
        return keep_best(space, scores, np.clip(np.round(shape(level) * widths), 1, widths).astype(int).tolist())

    low, high = -1.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if code_costs(space, code_at(middle))["flops"] <= most else (low, middle)
    filled = fill(space, scores, (code_at(low), code_at(high)), most)
    return fill(space, scores, (filled, space.full_code()), most)  # a channel of a trunk may cost four per cent
