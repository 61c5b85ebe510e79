"""The channel table: which bit of a code keeps each index of each parameter, and what layers cost. numpy only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.space.groups import Segment

Array = npt.NDArray[np.int64]
Code = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TensorRow:
    """A parameter or buffer.

    Attributes:
        name: as in the network.
        bits: for each axis the bit of each index; -1 where an index is never cut. Of the weight of a grouped
            convolution, axis 1 has the bits of all inputs, group after group.
        groups: groups of a grouped convolution, else 1.
        is_parameter: False for a buffer.
    """

    name: str
    bits: tuple[Array, ...]
    groups: int
    is_parameter: bool


@dataclass(frozen=True)
class LayerRow:
    """One call of a convolution or linear layer.

    Attributes:
        name: module name; that of its weight where this is not a module's `weight`, and never empty.
        kind: `conv`, `depthwise` (a convolution whose outputs read one input each) or `linear`.
        inputs: bit of each input; -1 where it is never cut.
        outputs: bit of each output.
        groups: an output reads this share of the inputs; of a depthwise convolution 1.
        kernel: area of the kernel; 0 where the layer runs in training only, and costs nothing.
        positions: places of one image at which the kernel is applied.
        areas: pixels of the map that is read, and of the map that is written.
        has_bias: whether it has a bias.
        norm: module name of the batch norm that alone reads what the layer writes, or None.
    """

    name: str
    kind: str
    inputs: Array
    outputs: Array
    groups: int
    kernel: int
    positions: int
    areas: tuple[int, int]
    has_bias: bool
    norm: str | None = None


@dataclass(frozen=True)
class EqualParts:
    """Parts of an axis that keep equally many channels.

    Attributes:
        name: the operator that needs it.
        bits: shape (parts, channels of a part); -1 where a channel is never cut.
    """

    name: str
    bits: Array


@dataclass(frozen=True)
class PadRow:
    """Constant channels that a module puts before and after those that it reads.

    Attributes:
        module: module name.
        axis: of the module's output.
        bits: bit of each channel of the output; -1 where it is never cut.
        before: how many constant channels come first.
        after: how many come last.
    """

    module: str
    axis: int
    bits: Array
    before: int
    after: int


@dataclass(frozen=True)
class Pin:
    """Why some channels are never cut.

    Attributes:
        reason: with the operator and its place.
        layers: those whose output channels stay.
    """

    reason: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class ChannelTable:
    """All that the graph of a network says of its channels. A bit of a code is a class of tied channels.

    Attributes:
        segments: in the order of the code: bits that the same layers carry. Each has the name of the first layer that
            writes it, with a number behind it where a layer writes several.
        writers: segment name -> all layers that write it.
        tensors: every parameter and buffer.
        layers: every call of a convolution or linear layer, in network order.
        parts: what must keep equally many channels.
        pads: modules that pad channels.
        pins: what is never cut, and why.
    """

    segments: tuple[Segment, ...]
    writers: Mapping[str, tuple[str, ...]]
    tensors: tuple[TensorRow, ...]
    layers: tuple[LayerRow, ...]
    parts: tuple[EqualParts, ...]
    pads: tuple[PadRow, ...]
    pins: tuple[Pin, ...]

    @property
    def length(self) -> int:
        """Number of bits of a code."""
        return sum(segment.width for segment in self.segments)

    @cached_property
    def starts(self) -> Array:
        """Where each segment begins, shape (segments,)."""
        return np.array([segment.start for segment in self.segments], dtype=np.int64)

    @cached_property
    def segment_of(self) -> Array:
        """The number of the segment that each bit belongs to, shape (length,)."""
        return np.repeat(np.arange(len(self.segments)), [segment.width for segment in self.segments])

    def full_code(self) -> Code:
        """The code that keeps every channel, shape (length,)."""
        return np.ones(self.length, dtype=np.uint8)

    def half_code(self, segments: Iterable[Segment]) -> Code:
        """The code without every second channel of some segments, not repaired, shape (length,)."""
        code = self.full_code()
        for segment in segments:
            code[segment.slice][1::2] = 0
        return code

    def check(self, codes: npt.ArrayLike) -> Code:
        """The codes as uint8, shape (..., length).

        Raises:
            UserError: wrong length, or a value other than 0 and 1.
        """
        array = np.asarray(codes)
        if array.ndim == 0 or array.shape[-1] != self.length:
            raise UserError(f"a code of this network has {self.length} bits, got an array of shape {array.shape}")
        if array.dtype == np.uint8 and np.max(array, initial=0) <= 1:
            return array
        if ((array != 0) & (array != 1)).any():
            raise UserError(f"a code holds only 0 and 1, got {np.unique(array)[:5]}")
        return array.astype(np.uint8)

    def count(self, codes: Code) -> Array:
        """Kept channels of each segment, shape (..., segments)."""
        counts = np.zeros((*codes.shape[:-1], len(self.segments)), dtype=np.int64)
        for index, segment in enumerate(self.segments):  # many times faster than `np.add.reduceat`
            narrowest = np.uint16 if segment.width < 1 << 16 else np.uint32  # sums of small numbers are faster
            counts[..., index] = codes[..., segment.slice].sum(axis=-1, dtype=narrowest)
        return counts

    @property
    def reach(self) -> float:
        """The share of all parameters that some segment can take out."""
        rows = [row for row in self.tensors if row.is_parameter]
        total = sum(_size(row, np.ones(self.length + 1)) for row in rows)
        stays = sum(_size(row, np.append(np.zeros(self.length), 1)) for row in rows)
        return 1 - stays / total if total else 0.0


def _size(row: TensorRow, kept: npt.NDArray[np.float64]) -> float:
    """Elements of a parameter; `kept` is a code, and 1 for what is never cut."""
    return float(np.prod([kept[bits].sum() for bits in row.bits]) / row.groups)
