"""From importance to a code: how many channels stay, and which. numpy only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.common.ranks import ranks_of
from evoprune.space.costs import code_costs
from evoprune.space.space import Code, SearchSpace

Places = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
"""Importance of every bit of a code, shape (length,), larger is more important; tied channels have the same."""
Ranking = Callable[[SearchSpace, Scores, float], Code]
"""Turns scores and the share of the channels to prune, in [0, 1], into a code."""
_BISECTIONS = 26  # finer than one channel of any network: rates closer than 2^-26 give the same code


def prune_uniform(space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Prune the int(rate x width) least important channels of every group, but keep one; rate in [0, 1]."""
    return keep_best(space, scores, [group.width - int(rate * group.width + 1e-9) for group in space.groups])


def prune_global(space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Prune the int(rate x length) least important channels of all, but keep one of each group; rate in [0, 1].

    Scores are comparable between groups, as `segment_scores` scales them to a mean of 1 in each layer.
    """
    order = np.argsort(scores, kind="stable")
    code = space.full_code()
    code[order[: int(rate * space.length + 1e-9)]] = 0
    return space.repair(code | keep_best(space, scores, [1] * len(space.groups)), scores)


def prune_by_offsets(offsets: npt.NDArray[np.float64], space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Prune about the share `rate` of all channels, but of some groups less than of others.

    A group keeps the share level + offset of its channels, at least one of them; the level is the same for all groups.

    Args:
        offsets: shape (groups,), in the order of `space.groups`; the larger, the more a group keeps.
        space: the search space.
        scores: shape (length,); the least important channels of each group go.
        rate: in [0, 1].
    """
    widths = np.array([group.width for group in space.groups])
    bits = widths * np.array([len(group.slices) for group in space.groups])
    low, high = -offsets.max(), 1 - offsets.min()  # from nothing of every group to all of it
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        keeps_less = bits @ np.clip(middle + offsets, 0, 1) <= (1 - rate) * space.length
        low, high = (middle, high) if keeps_less else (low, middle)
    return keep_best(space, scores, np.round(np.clip(high + offsets, 0, 1) * widths).astype(int).tolist())


RANKINGS: Mapping[str, Ranking] = {"uniform": prune_uniform, "global": prune_global}


def keep_best(space: SearchSpace, scores: Scores, counts: Sequence[int]) -> Code:
    """The repaired code that keeps the most important channels of each group.

    Args:
        space: the search space.
        scores: shape (length,); of equal ones the earlier channel stays.
        counts: channels to keep, for each of `space.groups`; at least one stays.
    """
    return space.repair(keep_first(space, places_of(space, scores), np.array([counts]))[0], scores)


def places_of(space: SearchSpace, scores: Scores) -> Places:
    """The place of each bit in the order of its group, shape (length,): 0 for the most important channel."""
    places = np.empty(space.length, dtype=np.int64)
    for group in space.groups:
        group.put(places, np.argsort(np.argsort(-group.of(scores), kind="stable")))
    return places


def keep_first(space: SearchSpace, places: Places, counts: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Codes, not repaired, that keep the first channels of each group, and one at least.

    Args:
        space: the search space.
        places: of `places_of`, shape (length,), or (codes, length) where every code has an order of its own.
        counts: channels to keep, shape (codes, groups).
    """
    codes = np.empty((len(counts), space.length), dtype=np.uint8)
    for group, count in zip(space.groups, counts.T, strict=True):
        group.put(codes, group.of(places) < np.maximum(1, count)[:, None])
    return codes


def prune_to_flops(space: SearchSpace, scores: Scores, ranking: Ranking, most: float) -> Code:
    """A code that leaves at most `most` multiply-adds, and nearly as many.

    It is that of the lowest rate at which `ranking` leaves no more, with channels back that a slightly lower rate would
    have kept: the most important first, as far as they fit. A rate alone misses by several per cent, as it takes a
    channel of many groups at once.

    Raises:
        UserError: the smallest network of the space has more.
    """
    smallest = code_costs(space, space.smallest_code())["flops"]
    if most < smallest:
        raise UserError(f"at most {most:,.0f} multiply-adds: the smallest network of {space.name} has {smallest:,}")
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if _flops(space, ranking(space, scores, middle)) <= most else (middle, high)
    full = space.full_code()
    if _flops(space, full) <= most:
        return full
    return fill(space, scores, (ranking(space, scores, high), ranking(space, scores, low)), most)


def fill(space: SearchSpace, scores: Scores, codes: tuple[Code, Code], most: float) -> Code:
    """The smaller one of two codes, with channels of the larger one as far as they fit into `most` multiply-adds.

    Args:
        space: the search space.
        scores: shape (length,); what is more important comes back first.
        codes: the smaller one, and one that keeps all that it keeps, and more.
        most: multiply-adds.
    """
    code, larger = codes[0].copy(), codes[1]
    back = [
        (group.of(scores)[channel], group, channel)
        for group in space.groups
        for channel in np.flatnonzero(group.of(larger) & ~group.of(code) & 1)
    ]
    for _, group, channel in sorted(back, key=lambda entry: -entry[0]):
        tried = code.copy()
        for place in group.slices:
            tried[place][channel] = 1
        tried = space.repair(tried, scores)
        code = tried if _flops(space, tried) <= most else code
    return code


def prune_on(own: SearchSpace, before: Code, code: Code, scores: Scores) -> Code:
    """A code with only what a pruned network has, from one that would have other channels back.

    Repair brings channels back where grouped layers must stay even; it may bring back only what is still there.

    Args:
        own: the search space of the pruned network, `space.slim(before)`.
        before: what that network keeps.
        code: what is to stay of it, and perhaps other channels.
        scores: shape (length,); what is more important comes back first.
    """
    left, there = before.copy(), before == 1
    left[there] = own.repair(code[there], scores[there])
    return left


def _flops(space: SearchSpace, code: Code) -> int:
    return code_costs(space, code)["flops"]


def mid_ranks(space: SearchSpace, scores: Scores) -> Scores:
    """Mid-rank of every channel inside its segment, scaled to (0, 1), ties averaged; shape (length,)."""
    result = np.empty(space.length)
    for segment in space.segments:
        result[segment.slice] = ranks_of(scores[segment.slice]) / segment.width
    return result
