"""Schedules: functions of how far a training has come."""

import math
from collections.abc import Callable, Mapping


def warmup_cosine(step: int, num_steps: int, warmup_steps: int) -> float:
    """Share of the highest learning rate at `step`: a linear warm-up, then a cosine that is 0 after the last step.

    Args:
        step: counted from 0.
        num_steps: of the whole training.
        warmup_steps: fewer than `num_steps`.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (num_steps - warmup_steps)))


Rise = Callable[[float, int], float]
"""Takes progress in [0, 1] and the number of changes on the way; returns the share of a final value, in [0, 1]."""


def logarithmic(progress: float, changes: int) -> float:
    """ln(2 + t/d) / ln(2 + E/d), the rise of PaddlePaddle's dynamic pruning (its pull request 2603), t = progress * E.

    It begins above 0, at ln 2 / ln(2 + changes), and ends at 1.

    Args:
        progress: in [0, 1].
        changes: E/d, at least 1.
    """
    return math.log(2 + progress * changes) / math.log(2 + changes)


def logarithmic_from_zero(progress: float, changes: int) -> float:
    """ln(1 + t/d) / ln(1 + E/d): as `logarithmic`, but it begins at 0."""
    return math.log1p(progress * changes) / math.log1p(changes)


def cubic(progress: float, changes: int) -> float:
    """1 - (1 - progress)^3, from 0 to 1 (Zhu and Gupta 2017, To Prune, or Not to Prune)."""
    return 1 - (1 - progress) ** 3


def at_once(progress: float, changes: int) -> float:
    """1 from the beginning."""
    return 1.0


RISES: Mapping[str, Rise] = {
    "once": at_once,
    "logarithmic": logarithmic,
    "logarithmic_from_zero": logarithmic_from_zero,
    "cubic": cubic,
}
"""By the names that the key `weights.schedule` has for them."""


def in_steps(rise: Rise, progress: float, changes: int) -> float:
    """`rise` at the last one of `changes` even steps that `progress` has passed; progress above 1 counts as 1."""
    passed = math.floor(min(1.0, progress) * changes + 1e-9)
    return rise(passed / changes, changes)
