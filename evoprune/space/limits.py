"""Bounds of what a candidate may cost: closed-form ones hold before anything is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.common.objectives import OBJECTIVES
from evoprune.config import LimitConfig
from evoprune.space.costs import code_costs, compute_costs
from evoprune.space.rounding import smaller_code, smallest_code
from evoprune.space.space import Code, SearchSpace


@dataclass(frozen=True)
class Limits:
    """Absolute bounds by name of the quantity: (smallest, largest) allowed value.

    Attributes:
        space: the search space.
        bounds: by name.
        round_to: every segment keeps a multiple of it, or all channels, also when a code shrinks.
    """

    space: SearchSpace
    bounds: Mapping[str, tuple[float, float]]
    round_to: int = 1

    def allow(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Mask, shape (population,), of the codes whose closed-form costs keep the bounds."""
        mask = np.ones(len(codes), dtype=bool)
        bounds = self._closed_form()
        costs = compute_costs(self.space, codes) if bounds else {}
        for name, (low, high) in bounds.items():
            mask &= (costs[name] >= low) & (costs[name] <= high)
        return mask

    def exceeded_by(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Mask, shape (population,), of the codes of which a closed-form cost is above its bound."""
        mask = np.zeros(len(codes), dtype=bool)
        bounds = self._closed_form()
        costs = compute_costs(self.space, codes) if bounds else {}
        for name, (_, high) in bounds.items():
            mask |= costs[name] > high
        return mask

    def shrink(self, code: Code, rng: np.random.Generator) -> Code:
        """Prune random channels of `code`, one of a hundred at a time, until no closed-form cost exceeds its bound."""
        code = self.space.repair(code)
        while self.exceeded_by(code[None])[0] and not np.array_equal(code, self._smallest):
            one_by_one = self.round_to == 1
            code = self._with_fewer(code, rng) if one_by_one else smaller_code(self.space, code, self.round_to, rng)
        return code

    @cached_property
    def _smallest(self) -> Code:
        return smallest_code(self.space, self.round_to)

    def _with_fewer(self, code: Code, rng: np.random.Generator) -> Code:
        """`code` without one random channel of a hundred, or twice as many until repair does not bring them all back.

        It does where parts must keep equally many. The smallest code where no number helps.
        """
        kept, number = np.flatnonzero(code), max(1, self.space.length // 100)
        while number < len(kept):
            fewer = code.copy()
            fewer[rng.choice(kept, number, replace=False)] = 0
            fewer = self.space.repair(fewer)
            if fewer.sum() < code.sum():
                return fewer
            number *= 2
        return self._smallest

    def violation(self, row: Mapping[str, Any]) -> float:
        """Sum of what a measured row exceeds its bounds by, relative to each bound; 0 where it keeps them all."""
        total = 0.0
        for name, (low, high) in self.bounds.items():
            value = float(row[name])
            total += max(0.0, (low - value) / max(abs(low), 1e-12)) if np.isfinite(low) else 0.0
            total += max(0.0, (value - high) / max(abs(high), 1e-12)) if np.isfinite(high) else 0.0
        return total

    def faults(self, row: Mapping[str, Any]) -> list[str]:
        """What a measured row has too much or too little of, and how much is allowed."""
        found = []
        for name, (low, high) in self.bounds.items():
            value, unit = float(row[name]), OBJECTIVES[name].unit
            if not low <= value <= high:
                allowed = f"at most {high:,.7g}" if value > high else f"at least {low:,.7g}"
                found.append(f"{name} {value:,.7g} ({unit}), {allowed} allowed")
        return found

    def _closed_form(self) -> dict[str, tuple[float, float]]:
        return {name: bound for name, bound in self.bounds.items() if OBJECTIVES[name].closed_form}


def make_limits(
    space: SearchSpace, config: Mapping[str, LimitConfig], base_ms: float | None = None, round_to: int = 1
) -> Limits:
    """Resolve shares of the base network's costs.

    Args:
        space: the search space.
        config: bounds by name of the quantity.
        base_ms: the base network's latency in ms; None where it is not measured yet, and shares of it bound nothing.
        round_to: of the widths of all codes.

    Raises:
        UserError: a bound that no network of the space can keep, or a share of an accuracy.
    """
    full = code_costs(space, space.full_code())
    base: dict[str, float] = {**full} if base_ms is None else {**full, "latency": base_ms}
    smallest = code_costs(space, smallest_code(space, round_to))
    bounds = {}
    for name, limit in config.items():
        for value, end in ((limit.min, "min"), (limit.max, "max")):
            _check_value(value, f"search.limits.{name}.{end}", name)
        low, high = (
            absolute_bound(limit.min, base.get(name), -np.inf),
            absolute_bound(limit.max, base.get(name), np.inf),
        )
        if low > high:
            raise UserError(f"search.limits.{name}: min {low:g} is above max {high:g}")
        if OBJECTIVES[name].closed_form:
            _check_possible(name, (low, high), (smallest[name], full[name]), space.name)
        elif name == "accuracy" and low > 100:
            raise UserError(f"search.limits.accuracy.min: got {low:g}; accuracy is at most 100 (%)")
        bounds[name] = (low, high)
    return Limits(space, bounds, round_to)


def absolute_bound(value: float | str | None, base: float | None, default: float) -> float:
    """A bound in the unit of its quantity.

    Args:
        value: a number, a share of the base network's value such as `50%`, or None.
        base: the base network's value; None where it is not known.
        default: what stands for None, and for a share of what is not known.
    """
    if isinstance(value, str):
        return default if base is None else float(value.removesuffix("%")) / 100 * base
    return default if value is None else float(value)


def _check_value(value: float | str | None, key: str, name: str) -> None:
    if isinstance(value, str) and name == "accuracy":
        raise UserError(f"{key}: got {value}; a limit of accuracy is a number ({OBJECTIVES[name].unit}), no share")
    if isinstance(value, int | float) and name == "accuracy" and 0 < value < 1:
        raise UserError(f"{key}: got {value:g}; accuracy is in %: for a share of {value:g} write {100 * value:g}")
    if name == "latency" and key.endswith(".max") and value is not None and absolute_bound(value, 1.0, np.inf) <= 0:
        raise UserError(f"{key}: got {value}; every network takes some time: a limit above 0 is wanted")


def _check_possible(name: str, bounds: tuple[float, float], costs: tuple[int, int], space: str) -> None:
    (low, high), (smallest, largest) = bounds, costs
    if high < smallest:
        raise UserError(
            f"search.limits.{name}.max: got {high:g}, but the smallest network of {space} has {smallest:,} {name}"
        )
    if low > largest:
        raise UserError(
            f"search.limits.{name}.min: got {low:g}, but the full network of {space} has {largest:,} {name}"
        )
