"""What accuracy a code will be measured at, from the widths of its groups: a sum over the groups, corrected by data."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evoprune.search.gaussian_process import GaussianProcess

Values = npt.NDArray[np.float64]
_SINGLE, _NARROW, _TOGETHER = 0.7, 0.2, 0.5  # as 84 shapes of ResNet-20 fit; trained ones mind narrow groups less
_PENALTY = 1.0  # of coefficients that leave these, against errors in tenths of the range
_LARGEST_SHARE = 0.98  # of the range that a single group may cost
_FEWEST_KNOWN, _MOST_KNOWN = 16, 500  # codes of the Gaussian process, the last ones: its time grows with their cube


class AccuracyModel:
    """Losses of single groups add up, a little more than that where many lose, and saturate at chance level.

    In a measure of loss that does not saturate (the logarithm of what is left of the range), a code loses a sum of
    three kinds of terms: what each group costs alone, with a coefficient for each group; the squared logarithms of the
    groups' widths, as curves of single groups make light of very narrow ones; and the square of the first sum. Ridge
    regression to what is measured corrects the coefficients. What that leaves unexplained, in points of accuracy, a
    Gaussian process over the logarithms of the widths predicts: codes of the same cost differ by that.

    Args:
        curves: for each group, the shares of its channels that were pruned, ascending from 0, and what each cost alone
            in points of accuracy, shape (points,).
        base: accuracy of the base network in percent.
        chance: accuracy of guessing, in percent.
        trust: share of what is measured in `promise`; 1 where `curves` are those of no network.
    """

    def __init__(self, curves: Sequence[tuple[Values, Values]], base: float, chance: float, trust: float = 1.0):
        self._curves = [(rates, np.maximum.accumulate(losses.clip(0, base - chance))) for rates, losses in curves]
        self._base, self._range, self._trust = base, max(1.0, base - chance), trust
        self._prior = np.array([*[_SINGLE] * len(curves), _NARROW, _TOGETHER])
        self._coefficients = self._prior
        self._rest: GaussianProcess | None = None

    def fit(self, shares: Values, accuracies: Values) -> None:
        """Learn from measured codes.

        Args:
            shares: of the channels that each group keeps, shape (codes, groups), in (0, 1].
            accuracies: in percent, shape (codes,).
        """
        terms, target = self._terms(shares), self._unsaturated(self._base - accuracies)
        weights = np.exp(-target / self._range) / (0.1 * self._range)  # by what an error makes of the accuracy
        weighted = terms * weights[:, None]
        error = (target - terms @ self._prior) * weights
        gram = weighted.T @ weighted + _PENALTY * np.eye(terms.shape[1])
        self._coefficients = np.maximum(0.0, self._prior + np.linalg.solve(gram, weighted.T @ error))
        shares, accuracies = shares[-_MOST_KNOWN:], accuracies[-_MOST_KNOWN:]
        if len(shares) >= _FEWEST_KNOWN:
            self._rest = GaussianProcess(np.log(shares), accuracies - self._sum(shares, self._coefficients))

    def predict(self, shares: Values) -> Values:
        """Accuracy in percent, shape (codes,)."""
        known = self._sum(shares, self._coefficients)
        return known if self._rest is None else known + self._rest.mean(np.log(shares))

    def promise(self, shares: Values) -> Values:
        """What the networks of codes are worth, in percent, shape (codes,).

        What short measurements say of networks of one cost is less true of trained ones than what single groups cost
        alone. So most of it is the first sum, as it was before anything was measured.
        """
        return self._trust * self.predict(shares) + (1 - self._trust) * self._sum(shares, self._prior)

    def _sum(self, shares: Values, coefficients: Values) -> Values:
        """Accuracy in percent by the terms alone."""
        lost = self._terms(shares) @ coefficients
        result: Values = self._base + self._range * np.expm1(-lost / self._range)
        return result

    def _terms(self, shares: Values) -> Values:
        """Shape (codes, groups + 2)."""
        columns = zip((1 - shares).T, self._curves, strict=True)
        alone = np.stack([self._unsaturated(np.interp(rates, *curve)) for rates, curve in columns], axis=1)
        narrow = (np.log(shares) ** 2).sum(axis=1)
        return np.column_stack([alone, narrow, alone.sum(axis=1) ** 2 / self._range])

    def _unsaturated(self, losses: Values) -> Values:
        result: Values = -self._range * np.log1p(-np.clip(losses / self._range, -_LARGEST_SHARE, _LARGEST_SHARE))
        return result
