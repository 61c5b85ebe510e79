"""Other tables of the same network: with some channels gone, or with some that are never cut. numpy only."""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from evoprune.space.groups import Segment
from evoprune.space.table import Array, ChannelTable, Code, EqualParts, PadRow, Pin

GONE = -2
"""Stands for a channel that the table does not have any more."""


def narrowed(table: ChannelTable, code: Code) -> ChannelTable:
    """The table of the slim network of a repaired code: pruned channels have no place in it."""
    new = np.where(code == 1, np.cumsum(code, dtype=np.int64) - 1, GONE)
    return _renumbered(table, new)


def fixed(table: ChannelTable, segments: Collection[str], reason: str) -> ChannelTable:
    """The table in which all channels of some segments are never cut."""
    stays = np.zeros(table.length, dtype=bool)
    for segment in table.segments:
        stays[segment.slice] = segment.name in segments
    new = np.where(stays, -1, np.cumsum(~stays) - 1)
    pins = [Pin(reason, tuple(table.writers.get(name, (name,)))) for name in segments]
    return replace(_renumbered(table, new), pins=(*table.pins, *pins))


def _renumbered(table: ChannelTable, new: Array) -> ChannelTable:
    """The table with other bits, shape (length,): `GONE` for a channel that is no more, -1 for one that stays."""
    numbers = np.append(new, -1)  # where -1 points

    def of(bits: Array) -> Array:
        found = numbers[bits]
        return found[found != GONE]

    segments = tuple(_segments(table, new))
    names = {segment.name for segment in segments}
    return replace(
        table,
        segments=segments,
        writers={name: layers for name, layers in table.writers.items() if name in names},
        tensors=tuple(replace(row, bits=tuple(map(of, row.bits))) for row in table.tensors),
        layers=tuple(replace(row, inputs=of(row.inputs), outputs=of(row.outputs)) for row in table.layers),
        parts=tuple(_parts(table, of)),
        pads=tuple(_pad(row, of) for row in table.pads),
    )


def _segments(table: ChannelTable, new: Array) -> list[Segment]:
    found, start = [], 0
    for segment in table.segments:
        width = int((new[segment.slice] >= 0).sum())
        if width:
            found.append(Segment(segment.name, width, start))
            start += width
    return found


def _parts(table: ChannelTable, of: Callable[[Array], Array]) -> list[EqualParts]:
    rows = [EqualParts(parts.name, np.stack([of(bits) for bits in parts.bits])) for parts in table.parts]
    return [row for row in rows if (row.bits >= 0).any()]


def _pad(row: PadRow, of: Callable[[Array], Array]) -> PadRow:
    end = len(row.bits) - row.after
    return replace(row, bits=of(row.bits), before=len(of(row.bits[: row.before])), after=len(of(row.bits[end:])))
