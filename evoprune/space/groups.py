"""What a search space is made of: segments of the code, groups of channels that go together, layers. numpy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BITS = 2**20
"""Of a code: what a file can make of memory."""
MOST_OPERATIONS = 2**60
"""Multiply-adds of a network: what fits the integers of the costs."""


@dataclass(frozen=True)
class Segment:
    """A run of bits in the code: one bit for each channel that the same layers carry.

    Attributes:
        name: as the search space calls it.
        width: channels of the base network, each of them a bit.
        start: place of the first bit in the code, from 0.
    """

    name: str
    width: int
    start: int

    @property
    def slice(self) -> slice:
        """Where the segment's bits stand in the code."""
        return slice(self.start, self.start + self.width)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together: those of one segment, or of several that an adapter ties.

    Where tied segments keep the same channels the adapter vanishes. So whoever chooses channels chooses them for the
    whole group.

    Attributes:
        name: the names of its segments, joined by `+`.
        width: channels of each of its segments.
        slices: where its segments' bits stand in the code.
        segments: the names of its segments, in the order of the code.
    """

    name: str
    width: int
    slices: tuple[slice, ...]
    segments: tuple[str, ...]

    def of(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The group's part of `values`, shape (..., length): that of its first segment, shape (..., width)."""
        return values[..., self.slices[0]]

    def put(self, values: npt.NDArray[Any], part: npt.ArrayLike) -> None:
        """Write `part`, shape (..., width), into every segment of the group in `values`, shape (..., length)."""
        for place in self.slices:
            values[..., place] = np.asarray(part)


@dataclass(frozen=True)
class Layer:
    """One layer of the base network and the segments that its input and output channels follow.

    Attributes:
        name: module name in the network.
        kind: `conv`, `depthwise`, `linear`, or `adapter`: a 1x1 convolution that exists only where `inputs` and
            `outputs` keep different channels (an identity otherwise).
        inputs: segment of the input channels, or `image`. Of a traced network several are joined by `+`, and None
            stands for channels that are never cut.
        outputs: segment of the output channels, or `classes`; of a traced network likewise.
        kernel: side of the square kernel.
        stride_in: side of the image / side of the input map; 0 for a pooled vector.
        stride_out: likewise for the output map.
        norm: module name of the batch norm that follows, or None.
    """

    name: str
    kind: str
    inputs: str | None
    outputs: str | None
    kernel: int = 1
    stride_in: int = 0
    stride_out: int = 0
    norm: str | None = None
