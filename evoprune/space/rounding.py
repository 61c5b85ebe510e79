"""Codes whose segments keep a multiple of some number of channels, or all: widths that hardware likes. numpy only."""

import numpy as np
import numpy.typing as npt

from evoprune.space.groups import ChannelGroup
from evoprune.space.space import Code, SearchSpace

Keys = npt.NDArray[np.float64]
"""One number for each bit of a code: channels with the larger ones are kept rather than the others."""
_ROUNDS = 8  # of parts that keep equally many channels; two were enough for all networks of torchvision that were tried
_SHARE_OUT = 0.01  # of all channels that go at once


def round_code(space: SearchSpace, code: Code, multiple: int, keys: Keys, rng: np.random.Generator) -> Code:
    """A repaired code near `code` whose segments keep a multiple of `multiple` channels, or all; none keeps fewer.

    A width between two multiples becomes either, the nearer one more often: so the mean width stays, and small steps
    of a code lead somewhere in the end.

    Args:
        space: the search space.
        code: 0/1, shape (space.length,).
        multiple: such as 8.
        keys: shape (space.length,). The least of the kept channels go, or the best of the others come back.
        rng: decides between the two multiples, for each group of segments once.
    """
    rounded = space.repair(code, keys)
    for group in space.groups:
        draw = rng.random()
        for place in group.slices:
            count = _target(int(rounded[place].sum()), group.width, multiple, draw)
            rounded[place] = to_count(rounded[place], keys[place], count)
    return _settled(space, rounded, multiple, keys)


def rounded_up(space: SearchSpace, code: Code, multiple: int) -> Code:
    """A repaired code that keeps what `code` keeps, and no more than its segments need to be multiples, or whole."""
    return _settled(space, space.repair(code), multiple, np.zeros(space.length))


def smallest_code(space: SearchSpace, multiple: int) -> Code:
    """The code that keeps as few channels as `round_code` leaves, shape (space.length,)."""
    return _settled(space, space.smallest_code(), multiple, np.zeros(space.length))


def smaller_code(space: SearchSpace, code: Code, multiple: int, rng: np.random.Generator) -> Code:
    """`code` without `multiple` random channels of some random groups, about one channel of a hundred in all.

    The smallest code where no group can lose any.
    """
    keys = np.empty(space.length)
    for group in space.groups:
        group.put(keys, rng.random(group.width))
    number = max(1, round(_SHARE_OUT * space.length / multiple))
    smaller = code.copy()
    for index in rng.permutation(len(space.groups)):
        number -= _lose(smaller, space.groups[index], multiple, keys)
        if number <= 0:
            settled = _settled(space, smaller, multiple, keys)
            if settled.sum() < code.sum():
                return settled
    return smallest_code(space, multiple)


def _lose(code: Code, group: ChannelGroup, multiple: int, keys: Keys) -> bool:
    """Take a group's segments down to the next multiple; whether there is one."""
    before = int(code.sum())
    for place in group.slices:
        count = (int(code[place].sum()) - 1) // multiple * multiple
        code[place] = code[place] if count < 1 else to_count(code[place], keys[place], count)
    return int(code.sum()) < before


def _settled(space: SearchSpace, code: Code, multiple: int, keys: Keys) -> Code:
    """A repaired code near one whose widths are multiples: what repair has changed is rounded up, again and again."""
    settled = space.repair(code, keys)
    for number in range(2 * _ROUNDS):
        odd = _odd_segments(space, settled, multiple)
        if not len(odd):
            return settled
        for segment in (space.segments[index] for index in odd):
            bits = settled[segment.slice]
            count = min(-(-int(bits.sum()) // multiple) * multiple, segment.width)
            settled[segment.slice] = to_count(bits, keys[segment.slice], count if number < _ROUNDS else segment.width)
        settled = space.repair(settled, keys)
    return space.full_code()


def _odd_segments(space: SearchSpace, code: Code, multiple: int) -> npt.NDArray[np.int64]:
    counts = space.count(code).astype(np.int64)
    widths = np.array([segment.width for segment in space.segments])
    return np.flatnonzero((counts % multiple != 0) & (counts != widths))


def _target(count: int, width: int, multiple: int, draw: float) -> int:
    """The multiple below `count` or the one above it, by a number drawn from [0, 1); not 0, and at most `width`."""
    low = count // multiple * multiple
    high = min(low + multiple, width)
    if count in (low, width):
        return count
    return high if low == 0 or draw < (count - low) / (high - low) else low


def to_count(bits: Code, keys: Keys, count: int) -> Code:
    """`bits`, shape (width,), with kept channels of the smallest keys pruned, or pruned ones of the largest back.

    Args:
        bits: 0/1.
        keys: shape (width,).
        count: how many are kept at the end.
    """
    if count <= bits.sum():
        return _best(np.where(bits == 1, keys, -np.inf), count)
    return _best(np.where(bits == 1, np.inf, keys), count)


def _best(keys: Keys, count: int) -> Code:
    code = np.zeros(len(keys), dtype=np.uint8)
    code[np.argsort(-keys, kind="stable")[:count]] = 1
    return code
