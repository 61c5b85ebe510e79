"""The bits along an axis of a parameter, as short text: which segments stand there, and how. numpy only."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from evoprune.common.errors import UserError
from evoprune.space.groups import Segment
from evoprune.space.table import Array

Term = int | str
_LONGEST = 80
MOST_INDICES = 2**24
"""Of all axes of a network together: what a file can make of memory."""
_TERM = re.compile(r"(?P<name>.+?)(\[(?P<first>\d+)(:(?P<end>\d+)(:(?P<step>\d+))?)?\])?( x(?P<times>\d+))?")


def format_axis(bits: Array, segments: Sequence[Segment]) -> list[Term]:
    """Terms that `parse_axis` reads: a number of channels that are never cut, or channels of a segment.

    `conv1` are all channels of that segment, `conv1[3]` is one, `conv1[0:8:2]` are every second of the first eight;
    `conv1 x49` has each channel 49 times in a row.

    Args:
        bits: of each index; -1 where an index is never cut, shape (size,).
        segments: of the code.
    """
    owner = [segment for segment in segments for _ in range(segment.width)]
    values = bits.tolist()
    terms: list[Term] = []
    place = 0
    while place < len(values):
        times = _times(values, place)
        if values[place] < 0:
            terms.append(times)
            place += times
            continue
        segment = owner[values[place]]
        count, step = _run(values, place, times, segment)
        terms.append(_term(segment, values[place] - segment.start, count, step, times))
        place += count * times
    return terms


def parse_axis(terms: Sequence[Term], segments: Mapping[str, Segment], most: int = MOST_INDICES) -> Array:
    """The bits that `format_axis` wrote.

    Args:
        terms: of the axis.
        segments: by name.
        most: indices that the axis may have.

    Raises:
        UserError: a term that is none, of a segment that there is not, or of channels that it has not; more indices.
    """
    parts: list[Array] = []
    for term in terms:
        parts.append(_bits(term, segments, most))
        most -= len(parts[-1])
    return np.concatenate([*parts, np.empty(0, dtype=np.int64)])


def _bits(term: Term, segments: Mapping[str, Segment], most: int) -> Array:
    if isinstance(term, int):
        _check_size(term, term, most)
        return np.full(term, -1, dtype=np.int64)
    found = _TERM.fullmatch(term)
    segment = segments.get(found["name"]) if found else None
    if found is None or segment is None:
        raise UserError(
            f"an axis has numbers and segments, got {term[:_LONGEST]!r}; where a "
            "segment was taken out of `segments`, its axes have its number of channels instead"
        )
    first, end = 0, segment.width
    if found["first"]:
        first = int(found["first"])
        end = int(found["end"] or first + 1)
    if not first < end <= segment.width:
        raise UserError(f"{term[:_LONGEST]!r}: the segment has {segment.width} channels")
    step, times = int(found["step"] or 1), int(found["times"] or 1)
    if not step or not times:
        raise UserError(f"{term[:_LONGEST]!r}: steps and times are at least 1")
    channels = range(first, end, step)
    _check_size(term, len(channels) * times, most)
    return segment.start + np.repeat(np.array(channels, dtype=np.int64), times)


def _check_size(term: Term, size: int, most: int) -> None:
    if size > most:
        raise UserError(f"{str(term)[:_LONGEST]!r}: more indices than any network's axes have together")


def _times(values: Sequence[int], place: int) -> int:
    """How often the value at a place stands in a row."""
    end = place
    while end < len(values) and values[end] == values[place]:
        end += 1
    return end - place


def _run(values: Sequence[int], place: int, times: int, segment: Segment) -> tuple[int, int]:
    """How many channels of a segment follow each other at even steps, each as often as the first one; and the step."""
    following = values[place + times] if place + times < len(values) else -1
    step = following - values[place]
    count = 1
    while step > 0 and values[place] + count * step < segment.start + segment.width:
        first = place + count * times
        if values[first : first + times] != [values[place] + count * step] * times:
            break
        if first + times < len(values) and values[first + times] == values[first]:
            break  # it stands there more often
        count += 1
    return count, step


def _term(segment: Segment, first: int, count: int, step: int, times: int) -> str:
    end = first + (count - 1) * step + 1
    if count == 1:
        text = f"{segment.name}[{first}]" if segment.width > 1 else segment.name
    elif (first, end, step) == (0, segment.width, 1):
        text = segment.name
    else:
        text = f"{segment.name}[{first}:{end}]" if step == 1 else f"{segment.name}[{first}:{end}:{step}]"
    return text if times == 1 else f"{text} x{times}"
