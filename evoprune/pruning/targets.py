"""How far a pruning without a search is to go: a rate, a number of multiply-adds, or a loss. No torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from evoprune.common.errors import UserError, suggest
from evoprune.config import IMPORTANCES, ImportanceName
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Ranking, Scores, keep_best, prune_to_flops
from evoprune.space.space import Code, SearchSpace

Kind = Literal["rate", "flops", "max_loss"]
ChooseCode = Callable[[Scores, float], Code]
"""Takes scores, shape (space.length,), and how far on the way to the target a step is to come, in (0, 1]: 0.5 is
half-way. Returns the code."""

_OPTIONS: Mapping[Kind, str] = {"rate": "--rate", "flops": "--flops", "max_loss": "--max-loss"}


@dataclass(frozen=True)
class Target:
    """What the last step must reach, always of the original network.

    Attributes:
        kind: `rate`, `flops` or `max_loss`.
        value: share of the channels that go; multiply-adds that stay; points of accuracy that each segment may cost.
        name: of kind and value, for names of files: `rate-0.45`, `flops-50pct`, `max-loss-2`.
    """

    kind: Kind
    value: float
    name: str


def parse_method(text: str) -> ImportanceName:
    """The importance that a user names.

    Raises:
        UserError: there is none of that name.
    """
    for name in IMPORTANCES:
        if name == text:
            return name
    raise UserError(f"--method is the name of an importance; got {text!r}; {suggest(text, IMPORTANCES)}")


def parse_target(given: Mapping[Kind, str | None], space: SearchSpace) -> Target:
    """The one target of `given`.

    Raises:
        UserError: none or several are given, or a value that no pruning of the space can reach.
    """
    named = {kind: text.strip() for kind, text in given.items() if text is not None}
    if len(named) != 1:
        came = " and ".join(_OPTIONS[kind] for kind in named) or "none of them"
        raise UserError(f"prune takes one of {', '.join(_OPTIONS.values())}; got {came}; try --rate 0.5")
    ((kind, text),) = named.items()
    parsers: dict[Kind, Callable[[str], float]] = {
        "rate": _rate,
        "flops": partial(_flops, space),
        "max_loss": _loss,
    }
    value = parsers[kind](text)
    number = f"{float(text.removesuffix('%')):.10g}" + ("pct" if text.endswith("%") else "")
    return Target(kind, value, f"{kind.replace('_', '-')}-{number}")


def choose_by_loss(target: Target, curves: Curves) -> ChooseCode:
    """How the channels of each step are chosen for the target `max_loss`, which is gone evenly."""
    return lambda scores, gone: keep_best(curves.space, scores, curves.counts_at(target.value * gone))


def choose_codes(target: Target, space: SearchSpace, ranking: Ranking) -> ChooseCode:
    """How the channels of each step are chosen for the other targets; the way there is gone evenly.

    Args:
        target: what the last step must reach.
        space: the search space of the original network.
        ranking: which channels go at a rate.
    """
    prune = partial(_prune_together, ranking)
    full = code_costs(space, space.full_code())["flops"]

    def step(scores: Scores, gone: float) -> Code:
        if target.kind == "rate":
            return prune(space, scores, target.value * gone)
        return prune_to_flops(space, scores, prune, full - (full - target.value) * gone)

    return step


def _prune_together(ranking: Ranking, space: SearchSpace, scores: Scores, rate: float) -> Code:
    """Prune, and prune tied segments alike: a global ranking may end between two, at the price of an adapter."""
    code = ranking(space, scores, rate)
    for group in space.groups:
        group.put(code, np.min([code[place] for place in group.slices], axis=0))
    return code


def _rate(text: str) -> float:
    value = _number(text)
    if value is None or not 0 < value < 1:
        raise UserError(
            "--rate is the share that goes, of the channels or, with --step, of the multiply-adds, between 0 and 1; "
            f"got {text}; for example --rate 0.45"
        )
    return value


def _flops(space: SearchSpace, text: str) -> float:
    full = code_costs(space, space.full_code())["flops"]
    least = code_costs(space, space.smallest_code())["flops"]
    number = _number(text.removesuffix("%"))
    value = number if number is None or not text.endswith("%") else number / 100 * full
    if value is None or not least <= value < full:
        raise UserError(
            f"--flops is how many multiply-adds may stay, as a number or a share such as 50%, of {space.name} at least "
            f"{least:,} ({math.ceil(1000 * least / full) / 10:g}%) and below {full:,}; got {text}; try --flops 50%"
        )
    return value


def _loss(text: str) -> float:
    value = _number(text)
    if value is None or value < 0:
        raise UserError(
            f"--max-loss is the accuracy in points that each segment may cost, 0 or more; got {text}; try --max-loss 2"
        )
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
