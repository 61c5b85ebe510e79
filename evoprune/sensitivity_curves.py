"""What each segment's accuracy says of how much of it may be cut: reads a sensitivity table. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evoprune.costs import code_costs
from evoprune.cutting import keep_best
from evoprune.errors import UserError
from evoprune.records import read_rows
from evoprune.space import SearchSpace

Points = npt.NDArray[np.float64]
_HALF = 0.5
_BISECTIONS = 40


def group_name(group: tuple[str, ...]) -> str:
    """How a table calls segments that are cut together."""
    return "+".join(group)


@dataclass(frozen=True)
class Curves:
    """Accuracy lost against the share of channels cut, each segment cut alone; linear between what was measured.

    Attributes:
        space: the search space; segments that it ties are cut together, as one group.
        rates: for every group of `space.tied`, the shares of its channels that were cut, ascending from 0, shape (N,).
        losses: likewise, the uncut accuracy minus that at each rate in points; infinite where it could not be measured.
    """

    space: SearchSpace
    rates: tuple[Points, ...]
    losses: tuple[Points, ...]

    @property
    def worst(self) -> float:
        """The largest loss on any curve, in points: a threshold at which every group is cut as far as was measured."""
        return max(float(values[np.isfinite(values)].max()) for values in self.losses)

    def rates_at(self, loss: float) -> Points:
        """Share of channels that each group keeps where it may cost `loss` points alone.

        The cut rate of a group is the largest one up to which its whole curve loses no more than that.

        Args:
            loss: in points of accuracy, >= 0. The more, the fewer channels stay.

        Returns:
            Shape (groups,), in (0, 1], in the order of `space.tied`.
        """
        pairs = zip(self.rates, self.losses, strict=True)
        return np.array([1 - _allowed(rates, losses, loss) for rates, losses in pairs])

    def offsets(self) -> Points:
        """How much more than the mean each group keeps, shape (groups,), at the loss where the mean is one half."""
        low, high = 0.0, self.worst
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.rates_at(middle).mean() > _HALF else (low, middle)
        rates = self.rates_at(high)
        return rates - rates.mean()

    def counts_at(self, loss: float) -> dict[str, int]:
        """Channels that every segment keeps at `rates_at(loss)`, rounded up."""
        width = {segment.name: segment.width for segment in self.space.segments}
        shares = zip(self.space.tied, self.rates_at(loss), strict=True)
        return {name: int(np.ceil(share * width[name] - 1e-9)) for group, share in shares for name in group}


def threshold_table(curves: Curves, losses: Sequence[float] = (0.5, 1, 2, 5)) -> str:
    """What `--max-loss` would keep, as Markdown: channels of every group, and multiply-adds of the whole network."""
    space = curves.space
    counts = [curves.counts_at(loss) for loss in losses]
    width = {segment.name: segment.width for segment in space.segments}
    full = code_costs(space, space.full_code())["flops"]
    codes = [keep_best(space, np.zeros(space.length), kept) for kept in counts]
    shares = [f"{100 * code_costs(space, code)['flops'] / full:.1f} %" for code in codes]
    head = ["segment", "channels", *(f"kept at {loss:g} points" for loss in losses)]
    rows = [[group_name(group), *(str(kept[group[0]]) for kept in (width, *counts))] for group in space.tied]
    lines = [head, ["---"] * len(head), *rows, ["multiply-adds", "100.0 %", *shares]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_curves(path: Path, space: SearchSpace) -> Curves:
    """Read what `evoprune sensitivity` wrote.

    Raises:
        UserError: no such file, or one that is not whole or of another search space.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evoprune sensitivity EXPERIMENT` writes one")
    found: dict[str, dict[float, float]] = {}
    for row in read_rows(path):
        if not {"segment", "rate", "accuracy"} <= row.keys():
            raise UserError(f"{path}: not a sensitivity table; it has no segment, rate and accuracy")
        accuracy = row["accuracy"]
        found.setdefault(row["segment"], {})[row["rate"]] = -np.inf if accuracy is None else accuracy
    names = [group_name(group) for group in space.tied]
    if set(found) != set(names):
        raise UserError(
            f"{path}: holds the segments {', '.join(found) or 'of no network'}, but {space.name} has "
            f"{', '.join(names)}; run `evoprune sensitivity` to its end with this experiment"
        )
    width = {segment.name: segment.width for segment in space.segments}
    for group, name in zip(space.tied, names, strict=True):
        if max(found[name]) < 1 - 1 / width[group[0]] - 1e-6:
            raise UserError(f"{path}: the curve of {name} ends early; run `evoprune sensitivity` to its end")
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
