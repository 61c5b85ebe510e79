"""From importance to a code: how many channels go, and which. numpy only."""

from collections.abc import Callable, Mapping

import numpy as np

from evoprune.costs import code_costs, compute_costs
from evoprune.errors import UserError
from evoprune.importance.segments import Scores
from evoprune.limits import smallest_code
from evoprune.space import Code, SearchSpace

Cut = Callable[[SearchSpace, Scores, float], Code]
_BISECTIONS = 26  # coarser than the tolerance of the cuts, by which segments of different widths reach one rate apart


def cut_uniform(space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Drop the int(rate x width) least important channels of every segment, but one stays; rate in [0, 1]."""
    return keep_best(space, scores, {segment.name: segment.width - int(rate * segment.width + 1e-9)
                                     for segment in space.segments})  # fmt: skip


def cut_global(space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Drop the int(rate x length) least important channels of all, but one of each segment stays; rate in [0, 1].

    Scores are comparable between segments, as `segment_scores` scales them to a mean of 1 in each layer.
    """
    order = np.argsort(scores, kind="stable")
    protected = keep_best(space, scores, {segment.name: 1 for segment in space.segments})
    code = space.full_code()
    code[order[: int(rate * space.length + 1e-9)]] = 0
    return code | protected


CUTS: Mapping[str, Cut] = {"uniform": cut_uniform, "global": cut_global}


def keep_best(space: SearchSpace, scores: Scores, counts: Mapping[str, int]) -> Code:
    """The code that keeps the `counts[name]` most important channels of each segment, one at least.

    Equal scores: the earlier channel stays.
    """
    code = np.zeros(space.length, dtype=np.uint8)
    for segment in space.segments:
        order = np.argsort(-scores[segment.slice], kind="stable")
        code[segment.start + order[: max(1, counts[segment.name])]] = 1
    return code


def cut_to_flops(space: SearchSpace, scores: Scores, cut: Cut, most: float) -> Code:
    """The code of the lowest rate at which `cut` leaves at most `most` multiply-adds.

    Raises:
        UserError: the smallest network of the space has more.
    """
    smallest = code_costs(space, smallest_code(space))["flops"]
    if most < smallest:
        raise UserError(f"at most {most:,.0f} multiply-adds: the smallest network of {space.name} has {smallest:,}")
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = compute_costs(space, cut(space, scores, middle))["flops"][0] <= most
        low, high = (low, middle) if fits else (middle, high)
    full = space.full_code()
    return full if code_costs(space, full)["flops"] <= most else cut(space, scores, high)
