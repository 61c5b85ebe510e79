"""The search space: which 0/1 codes there are and which layers each bit controls. numpy only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.space.groups import ChannelGroup, Layer, Segment

Code = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SearchSpace:
    """All 0/1 channel codes of one network. 1 keeps a channel, 0 prunes it.

    Attributes:
        name: the space's name.
        network: keys of the network's family, as `evoprune.networks` takes them.
        segments: in the order of the code.
        layers: every layer with channels, in network order.
        parameters: `width`, `num_classes`, `in_channels`, `image_size`; the last is a pair where images are not square.
    """

    name: str
    network: Mapping[str, Any]
    segments: tuple[Segment, ...]
    layers: tuple[Layer, ...]
    parameters: Mapping[str, Any]

    @cached_property
    def length(self) -> int:
        """Number of bits of a code."""
        return sum(segment.width for segment in self.segments)

    def identity(self) -> list[Any]:
        """What the full network depends on, beside `parameters`, as JSON types."""
        return [self.name, dict(self.network), [repr(part) for part in (*self.segments, *self.layers)]]

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        size = self.parameters["image_size"]
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.array([segment.start for segment in self.segments])

    @cached_property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """Channels that go together, in the order of the code: segments that an adapter ties are one group."""
        head: dict[str | None, str] = {segment.name: segment.name for segment in self.segments}
        for layer in self.layers:
            if layer.kind == "adapter" and self.segment(layer.inputs).width == self.segment(layer.outputs).width:
                joined, gone = head[layer.inputs], head[layer.outputs]
                head = {name: joined if first == gone else first for name, first in head.items()}
        return tuple(self._group(tuple(name for name in head if name is not None and head[name] == first))
                     for first in dict.fromkeys(head.values()))  # fmt: skip

    def _group(self, names: tuple[str, ...]) -> ChannelGroup:
        segments = [self.segment(name) for name in names]
        return ChannelGroup("+".join(names), segments[0].width, tuple(segment.slice for segment in segments), names)

    def segment(self, name: str | None) -> Segment:
        """The segment of that name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str | None, Segment]:
        return {segment.name: segment for segment in self.segments}

    def full_code(self) -> Code:
        """The code that keeps every channel, shape (length,)."""
        return np.ones(self.length, dtype=np.uint8)

    def smallest_code(self) -> Code:
        """The code that keeps one channel of every segment, shape (length,)."""
        return self.repair(np.zeros(self.length, dtype=np.uint8))

    def slim(self, code: npt.ArrayLike) -> "SearchSpace":
        """The search space of a slim network itself: every segment is as wide as the repaired `code` keeps it.

        Only for codes that need no adapter, as the adapter's weights would have no place in this space.
        """
        assert not self.adapters(code), f"the slim network has adapters: {self.adapters(code)}"
        segments, start = [], 0
        for name, width in self.widths(code).items():
            segments.append(Segment(name, width, start))
            start += width
        return replace(self, segments=tuple(segments))

    def check(self, code: npt.ArrayLike) -> Code:
        """Return `code` as uint8 of shape (length,).

        Raises:
            UserError: wrong length, or a value other than 0 and 1.
        """
        array = np.asarray(code)
        if array.shape != (self.length,):
            raise UserError(f"a code of {self.name} has shape ({self.length},), got {array.shape}")
        if ((array != 0) & (array != 1)).any():
            raise UserError(f"a code of {self.name} holds only 0 and 1, got {np.unique(array)[:5]}")
        return array.astype(np.uint8)

    def repair(self, code: npt.ArrayLike, scores: npt.NDArray[np.float64] | None = None) -> Code:
        """Return a code in which no segment is empty: an empty one keeps its first channel.

        Args:
            code: 0/1, shape (length,).
            scores: importance of every bit, for networks of which several channels must be chosen together.
        """
        repaired = self.check(code)
        repaired[self._starts[self.count(repaired) == 0]] = 1
        return repaired

    def count(self, codes: Code) -> npt.NDArray[np.uint32]:
        """Ones in each segment of `codes`, shape (..., length), as they are, not repaired; shape (..., segments)."""
        return np.add.reduceat(codes, self._starts, axis=-1, dtype=np.uint32)

    def split(self, code: npt.ArrayLike) -> dict[str, Code]:
        """Segment name -> its bits."""
        checked = self.check(code)
        return {segment.name: checked[segment.slice] for segment in self.segments}

    def widths(self, code: npt.ArrayLike) -> dict[str, int]:
        """Segment name -> number of kept channels of the repaired code."""
        counts = self.count(self.repair(code)).tolist()
        return {segment.name: width for segment, width in zip(self.segments, counts, strict=True)}

    def kept(self, code: npt.ArrayLike) -> dict[str, npt.NDArray[np.int64]]:
        """Segment name -> indices of the kept channels of the repaired code, ascending."""
        return {name: np.flatnonzero(bits) for name, bits in self.split(self.repair(code)).items()}

    def kept_bits(self, code: npt.ArrayLike) -> Code:
        """The repaired code with a 1 behind it, which is where the bit -1 points; shape (length + 1,)."""
        return np.append(self.repair(code), np.uint8(1))

    def input_bits(self, layer: Layer) -> Bits:
        """The bit of each channel that a layer reads; -1 where it is never cut."""
        return self._bits(layer.inputs, self.parameters["in_channels"])

    def output_bits(self, layer: Layer) -> Bits:
        """The bit of each channel that a layer writes; -1 where it is never cut."""
        return self._bits(layer.outputs, self.parameters["num_classes"])

    def _bits(self, name: str | None, outside: int) -> Bits:
        if name not in self._by_name:
            return np.full(outside, -1, dtype=np.int64)
        segment = self.segment(name)
        return np.arange(segment.start, segment.start + segment.width, dtype=np.int64)

    def adapters(self, code: npt.ArrayLike) -> list[str]:
        """Names of the adapter layers that this code needs."""
        kept: dict[str | None, npt.NDArray[np.int64]] = dict(self.kept(code).items())
        return [
            layer.name
            for layer in self.layers
            if layer.kind == "adapter" and not np.array_equal(kept[layer.inputs], kept[layer.outputs])
        ]

    def key(self, code: npt.ArrayLike) -> str:
        """Short stable hash of the repaired code; never looks like a number."""
        bits = self.repair(code)
        digest = hashlib.sha256(f"{self.length}:".encode() + np.packbits(bits).tobytes()).hexdigest()
        return f"k{digest[:11]}"

    def format_code(self, code: npt.ArrayLike) -> str:
        """Text of a code for tables: `h` and the bits as hexadecimal digits."""
        return f"h{np.packbits(self.check(code)).tobytes().hex()}"

    def parse_code(self, text: str) -> Code:
        """Read what `format_code` wrote.

        Raises:
            UserError: the text is not a code of this space.
        """
        try:
            packed = np.frombuffer(bytes.fromhex(text.removeprefix("h")), dtype=np.uint8)
        except ValueError:
            raise UserError(f"a code is 'h' and hexadecimal digits, got {text[:40]!r}") from None
        bits = np.unpackbits(packed)
        if not text.startswith("h") or bits.size != -(-self.length // 8) * 8 or bits[self.length :].any():
            raise UserError(
                f"a code of {self.name} is 'h' and {-(-self.length // 8) * 2} hexadecimal digits, got {text[:40]!r}"
            )
        return bits[: self.length]
