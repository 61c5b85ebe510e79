"""Labels of channels: fresh ones, ties between them, and those that must stay."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]
Axis = Array | None
"""A label for each index of an axis. None: an axis of which nothing is ever cut."""


class Labels:
    """All labels of one network. Tied labels are one class: their channels are kept or pruned together."""

    def __init__(self) -> None:
        self._parents = np.empty(0, dtype=np.int64)
        self._pins: list[tuple[Array, str]] = []

    @property
    def count(self) -> int:
        """How many labels there are."""
        return len(self._parents)

    @property
    def pins(self) -> list[tuple[Array, str]]:
        """Labels whose channels must stay, and why, in the order in which they were found."""
        return self._pins

    def fresh(self, count: int) -> Array:
        """New labels, shape (count,), each in a class of its own."""
        new = np.arange(self.count, self.count + count, dtype=np.int64)
        self._parents = np.concatenate([self._parents, new])
        return new

    def find(self, labels: Array) -> Array:
        """One label for each class: equal for tied labels, of the shape of `labels`."""
        roots = self._parents[labels]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                self._parents[labels] = roots
                return roots
            roots = above

    def tie(self, first: Array, second: Array) -> None:
        """Tie the labels of two arrays of equal shape, one by one."""
        assert first.shape == second.shape
        while True:
            one, other = self.find(first), self.find(second)
            differ = one != other
            if not differ.any():
                return
            high, low = np.maximum(one, other)[differ], np.minimum(one, other)[differ]
            np.minimum.at(self._parents, high, low)  # of several lows one is taken: the next round ties the others

    def pin(self, axis: Axis, reason: str) -> None:
        """The channels of these labels, and of all that are tied to them by the end, must stay."""
        if axis is not None and axis.size:
            self._pins.append((axis, reason))
