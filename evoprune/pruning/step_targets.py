"""How far a round of the four steps goes: channels by the curves of `evoprune analyse`. No torch."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evoprune.common.errors import UserError
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.pruning.targets import Target
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Scores, fill, keep_best, prune_on
from evoprune.space.space import Code, SearchSpace

_BISECTIONS = 40


def step_target(target: Target, space: SearchSpace) -> Target:
    """The target of a round: a rate is here the share of the original network's multiply-adds that goes.

    Raises:
        UserError: no network of the space has so few.
    """
    if target.kind != "rate":
        return target
    full = code_costs(space, space.full_code())["flops"]
    most = 1 - code_costs(space, space.smallest_code())["flops"] / full
    if target.value > most:
        raise UserError(
            f"--rate is with --step the share of the multiply-adds that go, and {space.name} can lose "
            f"{100 * most:.1f} %; got {target.value:g}"
        )
    return replace(target, kind="flops", value=(1 - target.value) * full)


def choose(target: Target, curves: Curves, scores: Scores, before: Code) -> tuple[Code, float]:
    """The channels that a round keeps, and the loss in points that each group may cost alone with that.

    A rate and a tolerated loss are two names of one thing: the loss is the smallest with which the multiply-adds are
    kept to, found by bisection; then the most important channels come back that fit.

    Args:
        target: `flops`, multiply-adds that may stay; or `max_loss`, points that each group may cost.
        curves: accuracy against the share of channels of each group.
        scores: shape (length,); the least important channels of each group go.
        before: what the round before has kept; nothing comes back.

    Raises:
        UserError: the curves do not reach so far, or nothing more goes.
    """
    space, scores = curves.space, np.where(before == 1, scores, -np.inf)
    own = space.slim(before)

    def code_at(loss: float) -> Code:
        return prune_on(own, before, keep_best(space, scores, curves.counts_at(loss)), scores)

    if target.kind == "max_loss":
        code, loss = code_at(target.value), target.value
    else:
        loss, below = _loss_for(target.value, curves, code_at)
        more = before if below is None else code_at(below)
        code = fill(space, scores, (code_at(loss), more), target.value)
    if (code == before).all():
        raise UserError(
            f"{target.name}: no channel more goes than the {(before == 0).sum():,} of {space.length:,} that are gone "
            "already; take a higher rate or loss"
        )
    return code, loss


def _loss_for(most: float, curves: Curves, code_at: Callable[[float], Code]) -> tuple[float, float | None]:
    """The smallest loss that leaves at most so many multiply-adds; and one next to it that leaves more, or None."""

    def flops(loss: float) -> int:
        return code_costs(curves.space, code_at(loss))["flops"]

    low, high = 0.0, curves.worst
    if flops(low) <= most:
        return low, None
    if flops(high) > most:
        raise UserError(
            f"at {curves.worst:g} points, the most that was measured, {flops(high):,} multiply-adds stay, more than "
            f"{most:,.0f}; take a lower rate"
        )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if flops(middle) <= most else (middle, high)
    return high, low
