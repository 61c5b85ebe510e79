"""Closed-form costs of many codes of a traced network at once. numpy only."""

from math import prod

import numpy as np
import numpy.typing as npt

from evoprune.space.table import Array, ChannelTable, Code

BYTES_PER_VALUE = 4
_CHUNK = 512  # codes at once: what they need stays in the processor's cache


class TracedCosts:
    """Costs of a network's codes; what they need of its table is computed once.

    Args:
        table: of the network.
    """

    def __init__(self, table: ChannelTable) -> None:
        self._table, self._widths = table, _Widths(table)
        add = self._widths.add
        self._tensors = [([add(bits) for bits in row.bits], row.groups) for row in table.tensors if row.is_parameter]
        self._layers = [(row, add(row.inputs), add(row.outputs)) for row in table.layers]

    def of(self, codes: npt.ArrayLike) -> dict[str, Array]:
        """Costs of the narrowed networks of `codes`, as `compute_costs` says.

        Args:
            codes: 0/1, shape (population, length), or (length,) for one. They are taken as they are: repair them first.

        Returns:
            `flops`, `params`, `bandwidth`, each int64 of shape (population,).

        Raises:
            UserError: a code of the wrong length or with other values than 0 and 1.
        """
        checked = np.atleast_2d(self._table.check(codes))
        totals = np.zeros((3, len(checked)), dtype=np.int64)
        for first in range(0, len(checked), _CHUNK):
            part = slice(first, first + _CHUNK)
            totals[:, part] = self._of(self._widths.of(checked[part]))
        return {"flops": totals[0], "params": totals[1], "bandwidth": BYTES_PER_VALUE * totals[2]}

    def _of(self, widths: Array) -> Array:
        """Multiply-adds, parameters, values read and written; shape (3, population)."""
        ones = np.ones(widths.shape[1], dtype=np.int64)
        flops, values = np.zeros_like(ones), np.zeros_like(ones)
        for row, place_in, place_out in self._layers:
            inputs, outputs = widths[place_in], widths[place_out]
            weights = row.kernel * (outputs if row.kind == "depthwise" else inputs * outputs // row.groups)
            flops += row.positions * weights
            values += weights + row.has_bias * outputs + row.areas[0] * inputs + row.areas[1] * outputs
        params = sum((prod((widths[axis] for axis in axes), start=ones) // groups for axes, groups in self._tensors),
                     start=0 * ones)  # fmt: skip
        return np.stack([flops, params, values])


class _Widths:
    """Widths of axes as linear functions of how many channels each segment keeps; equal ones are computed once."""

    def __init__(self, table: ChannelTable) -> None:
        self._table = table
        self._rows: dict[bytes, int] = {}
        self._weights: list[npt.NDArray[np.float64]] = []

    def add(self, bits: Array) -> int:
        """The number of an axis, whose indices have these bits. All bits of a segment stand in it equally often."""
        row = np.zeros(len(self._table.segments) + 1)
        row[-1] = (bits < 0).sum()
        found, times = np.unique(bits[bits >= 0], return_counts=True)
        row[self._table.segment_of[found]] = times
        key = row.tobytes()
        if key not in self._rows:
            self._rows[key] = len(self._weights)
            self._weights.append(row)
        return self._rows[key]

    def of(self, codes: Code) -> Array:
        """Widths of all axes, shape (axes, population)."""
        kept = np.hstack([self._table.count(codes), np.ones((len(codes), 1), dtype=np.int64)])
        exact = np.array(self._weights).reshape(-1, kept.shape[1]) @ kept.T.astype(np.float64)
        return exact.astype(np.int64)
