"""Sensitivity: what a network loses when one group of channels alone is pruned. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.common.objectives import Row
from evoprune.space.groups import ChannelGroup
from evoprune.space.ranking import Scores, keep_best
from evoprune.space.space import Code, SearchSpace

Points = npt.NDArray[np.float64]
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
_HALF = 0.5
_BISECTIONS = 40


@dataclass(frozen=True)
class Curves:
    """Accuracy lost against the share of channels pruned, each group alone; linear between what was measured.

    Attributes:
        space: the search space; each of its groups has a curve.
        rates: for each of `space.groups`, the shares of its channels that were pruned, ascending from 0, shape (N,).
        losses: likewise, the base network's accuracy minus that at each rate, in points; infinite where there is none.
    """

    space: SearchSpace
    rates: tuple[Points, ...]
    losses: tuple[Points, ...]

    @property
    def worst(self) -> float:
        """The largest loss on any curve, in points: at this threshold every group is pruned as far as was measured."""
        return max(float(values[np.isfinite(values)].max()) for values in self.losses)

    def kept_at(self, loss: float) -> Points:
        """Share of channels that each group keeps where it may cost `loss` points alone.

        The rate of a group is the largest one up to which its whole curve loses no more than that.

        Args:
            loss: in points of accuracy, >= 0. The more, the fewer channels stay.

        Returns:
            Shape (groups,), in (0, 1], in the order of `space.groups`.
        """
        pairs = zip(self.rates, self.losses, strict=True)
        return np.array([1 - _allowed(rates, losses, loss) for rates, losses in pairs])

    def offsets(self) -> Points:
        """How much more than the mean each group keeps, shape (groups,), at the loss where the mean is one half."""
        low, high = 0.0, self.worst
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.kept_at(middle).mean() > _HALF else (low, middle)
        kept = self.kept_at(high)
        return kept - kept.mean()

    def counts_at(self, loss: float) -> list[int]:
        """Channels that each of `space.groups` keeps at `kept_at(loss)`, rounded up."""
        shares = zip(self.space.groups, self.kept_at(loss), strict=True)
        return [int(np.ceil(share * group.width - 1e-9)) for group, share in shares]


def curves_of(rows: Iterable[Row], space: SearchSpace, path: Path) -> Curves:
    """The curves that the rows of a sensitivity table are; `path` names the table in errors.

    Raises:
        UserError: a table that is not whole or of another search space.
    """
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        if not {"segment", "rate", "accuracy"} <= row.keys():
            raise UserError(f"{path}: not a sensitivity table; it has no segment, rate and accuracy")
        segment, accuracy = row["segment"], row["accuracy"]
        is_point = segment is not None and row["rate"] is not None and 0 <= row["rate"] <= 1
        if not is_point or (accuracy is not None and not np.isfinite(accuracy)):
            raise UserError(f"{path}: damaged: segment {segment}, rate {row['rate']}, accuracy {accuracy}; delete the "
                            "file, and it is measured again")  # fmt: skip
        found.setdefault(segment, {})[row["rate"]] = -np.inf if accuracy is None else accuracy
    names = [group.name for group in space.groups]
    if set(found) != set(names):
        raise UserError(
            f"{path}: holds the segments {', '.join(found) or 'of no network'}, but {space.name} has "
            f"{', '.join(names)}; run `evoprune sensitivity` to its end with this experiment"
        )
    for group in space.groups:
        if max(found[group.name]) < 1 - 1 / group.width - 1e-6:
            raise UserError(f"{path}: the curve of {group.name} ends early; run `evoprune sensitivity` to its end")
    curves = [_curve(found[name], name, path) for name in names]
    return Curves(space, tuple(rates for rates, _ in curves), tuple(losses for _, losses in curves))


def _curve(accuracies: Mapping[float, float], name: str, path: Path) -> tuple[Points, Points]:
    if not np.isfinite(accuracies.get(0.0, -np.inf)):
        raise UserError(f"{path}: {name} has no accuracy at rate 0; delete the file, and it is measured again")
    rates = np.array(sorted(accuracies))
    return rates, accuracies[0.0] - np.array([accuracies[rate] for rate in rates])


def _allowed(rates: Points, losses: Points, loss: float) -> float:
    """The largest r so that the curve is nowhere above `loss` in [0, r]."""
    above = np.flatnonzero(losses > loss)
    if not len(above):
        return float(rates[-1])
    end = above[0]
    if end == 0:
        return 0.0
    share = (loss - losses[end - 1]) / (losses[end] - losses[end - 1])
    return float(rates[end - 1] + share * (rates[end] - rates[end - 1]))


@dataclass(frozen=True)
class Point:
    """A place on the curve of a group: how many channels stay, and the code that says so."""

    id: int
    group: ChannelGroup
    kept: int
    rate: float
    code: Code


def plan_points(space: SearchSpace, scores: Scores, rates: Sequence[float] = TENTHS) -> list[Point]:
    """Every group of channels pruned alone: not at all, by each of `rates`, and down to one channel.

    As everywhere, int(rate x width) channels go; rates that come to the same number are one point.
    """
    points: list[Point] = []
    widths = [group.width for group in space.groups]
    for place, group in enumerate(space.groups):
        full = group.width
        for kept in sorted({full, 1, *(full - int(rate * full + 1e-9) for rate in rates)}, reverse=True):
            code = keep_best(space, scores, [*widths[:place], kept, *widths[place + 1 :]])
            points.append(Point(len(points), group, kept, round(1 - kept / full, 12), code))
    return points
