"""Closed-form costs of many codes of a traced network at once. numpy only."""

from math import prod

import numpy as np
import numpy.typing as npt

from evoprune.tracing.table import Array, ChannelTable, Code

_CHUNK = 512  # codes at once: what they need stays in the processor's cache


def traced_costs(table: ChannelTable, codes: npt.ArrayLike) -> dict[str, Array]:
    """Costs of the narrowed networks of `codes`, without building them.

    `flops` are multiply-adds of convolutions and linear layers for one image of the example's size (1 multiply-add =
    1). `params` are all parameters.

    Args:
        table: of the network.
        codes: 0/1, shape (population, table.length), or (table.length,) for one. They are taken as they are: repair
            them first.

    Returns:
        `flops`, `params`, each int64 of shape (population,).

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    checked = np.atleast_2d(table.check(codes))
    widths = _Widths(table)
    tensors = [([widths.add(bits) for bits in row.bits], row.groups) for row in table.tensors if row.is_parameter]
    layers = [
        ([widths.add(row.inputs), widths.add(row.outputs)], row.groups, row.repeats) for row in table.layers
    ]  # fmt: skip
    totals = np.zeros((2, len(checked)), dtype=np.int64)
    for first in range(0, len(checked), _CHUNK):
        part = slice(first, first + _CHUNK)
        counts = widths.of(checked[part])
        ones = np.ones(counts.shape[1], dtype=np.int64)
        for axes, groups, repeats in layers:
            totals[0, part] += repeats * prod((counts[axis] for axis in axes), start=ones) // groups
        for axes, groups in tensors:
            totals[1, part] += prod((counts[axis] for axis in axes), start=ones) // groups
    return {"flops": totals[0], "params": totals[1]}


class _Widths:
    """Widths of axes as linear functions of how many channels each segment keeps; equal ones are computed once."""

    def __init__(self, table: ChannelTable) -> None:
        self._table = table
        self._rows: dict[bytes, int] = {}
        self._weights: list[npt.NDArray[np.float64]] = []
        self._segment_of = np.repeat(np.arange(len(table.segments)), [segment.width for segment in table.segments])

    def add(self, bits: Array) -> int:
        """The number of an axis, whose indices have these bits. All bits of a segment stand in it equally often."""
        row = np.zeros(len(self._table.segments) + 1)
        row[-1] = (bits < 0).sum()
        found, times = np.unique(bits[bits >= 0], return_counts=True)
        row[self._segment_of[found]] = times
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
