"""A code -> the nearest one that a network can be built from. numpy only."""

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.space.table import Array, ChannelTable, Code


def repair(table: ChannelTable, code: npt.ArrayLike, scores: npt.NDArray[np.float64] | None = None) -> Code:
    """A code in which no segment is empty and parts that must keep equally many do.

    Parts first meet at their mean: the least important kept channels go, or the most important pruned ones come back.
    Where one constraint disturbs another, more channels come back until all hold. A repaired code stays as it is.

    Args:
        table: of the network.
        code: 0/1, shape (table.length,).
        scores: importance of every bit, shape (table.length,); by default the earlier channel is the more important.

    Returns:
        0/1, shape (table.length,).

    Raises:
        UserError: more than one code, a wrong length, or a value other than 0 and 1.
    """
    checked = table.check(code)
    if checked.ndim > 1:
        raise UserError(f"one code at a time, of shape ({table.length},); got an array of shape {checked.shape}")
    bits = np.append(checked, np.uint8(1))  # the last one stands for what is never cut
    _fill_empty(table, bits)
    order = np.arange(table.length) if scores is None else np.argsort(-scores, kind="stable")
    rank = np.append(np.argsort(order), -1)
    ordered = [np.stack([part[np.argsort(rank[part], kind="stable")] for part in parts.bits]) for parts in table.parts]
    for parts in ordered:
        kept = bits[parts].sum(axis=1)
        if kept.min() < kept.max():
            _move(parts, bits, max(1, int((parts < 0).sum(axis=1).max()), int(kept.mean() + 0.5)))
    while _fill_empty(table, bits) or any([_raise(parts, bits) for parts in ordered]):
        pass
    return bits[:-1]


def _fill_empty(table: ChannelTable, bits: Code) -> bool:
    """Keep the first channel of every empty segment; whether there was one."""
    empty = table.starts[table.count(bits[:-1]) == 0]
    bits[empty] = 1
    return len(empty) > 0


def _move(parts: Array, bits: Code, target: int) -> None:
    """Every part keeps `target` channels, as far as its channels stand in no other part; important ones come first."""
    for part in parts:
        _keep_more(part, bits, target)
        for bit in part[::-1].tolist():
            if bits[part].sum() <= target:
                break
            bits[bit] = bits[bit] if bit < 0 else 0


def _raise(parts: Array, bits: Code) -> bool:
    """Every part keeps as many channels as the one that keeps most; whether something changed."""
    kept = bits[parts].sum(axis=1)
    most = int(kept.max())
    for part in parts[kept < most]:
        _keep_more(part, bits, most)
    return bool(kept.min() < most)


def _keep_more(part: Array, bits: Code, target: int) -> None:
    for bit in part.tolist():
        if bits[part].sum() >= target:
            break
        bits[bit] = 1
