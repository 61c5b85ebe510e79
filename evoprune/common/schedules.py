"""Schedules: functions of how far a training has come."""

import math


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
