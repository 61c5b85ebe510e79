"""A code -> the nearest one that a network can be built from. numpy only."""

import numpy as np
import numpy.typing as npt

from evoprune.tracing.table import ChannelTable, Code, EqualParts


def repair(table: ChannelTable, code: npt.ArrayLike) -> Code:
    """A code in which no segment is empty and parts that must keep equally many do.

    Parts first meet at their mean: the last kept channels go, or the first pruned ones come back. Where one constraint
    disturbs another, more channels come back until all hold. A repaired code stays as it is.

    Args:
        table: of the network.
        code: 0/1, shape (table.length,).

    Returns:
        0/1, shape (table.length,).

    Raises:
        UserError: wrong length, or a value other than 0 and 1.
    """
    checked = table.check(code)
    bits = np.append(checked.ravel(), np.uint8(1))  # the last one stands for what is never cut
    assert len(bits) == table.length + 1, "one code at a time"
    _fill_empty(table, bits)
    for parts in table.parts:
        kept = bits[parts.bits].sum(axis=1)
        fewest = max(1, int((parts.bits < 0).sum(axis=1).max()))
        _move(parts, bits, max(fewest, int(kept.mean() + 0.5)))
    while _fill_empty(table, bits) or any([_raise(parts, bits) for parts in table.parts]):
        pass
    return bits[:-1]


def _fill_empty(table: ChannelTable, bits: Code) -> bool:
    """Keep the first channel of every empty segment; whether there was one."""
    empty = table.starts[table.count(bits[:-1]) == 0]
    bits[empty] = 1
    return len(empty) > 0


def _move(parts: EqualParts, bits: Code, target: int) -> None:
    """Every part keeps `target` channels, as far as its channels stand in no other part."""
    for part in parts.bits:
        _keep_more(part, bits, target)
        for bit in part[::-1].tolist():
            if bits[part].sum() <= target:
                break
            bits[bit] = bits[bit] if bit < 0 else 0


def _raise(parts: EqualParts, bits: Code) -> bool:
    """Every part keeps as many channels as the one that keeps most; whether something changed."""
    before = bits.copy()
    most = int(bits[parts.bits].sum(axis=1).max())
    for part in parts.bits:
        _keep_more(part, bits, most)
    return not np.array_equal(before, bits)


def _keep_more(part: npt.NDArray[np.int64], bits: Code, target: int) -> None:
    for bit in part.tolist():
        if bits[part].sum() >= target:
            break
        bits[bit] = 1
