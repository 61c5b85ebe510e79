"""The search space: which 0/1 codes there are and which layers each bit controls. numpy only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.errors import UserError
from evoprune.files import find_carried_file, read_yaml, suggest

Code = npt.NDArray[np.uint8]
PARAMETERS = ("width", "num_classes", "in_channels", "image_size")
LAYER_KINDS = ("conv", "linear", "adapter")


@dataclass(frozen=True)
class Segment:
    """A run of bits in the code: one bit per channel of a group that is kept or cut together."""

    name: str
    width: int
    start: int

    @property
    def slice(self) -> slice:
        """Where the segment's bits stand in the code."""
        return slice(self.start, self.start + self.width)


@dataclass(frozen=True)
class Layer:
    """One layer of the parent and the segments that its input and output channels follow.

    Attributes:
        name: module name in the network.
        kind: `conv`, `linear`, or `adapter`: a 1x1 convolution that exists only where `inputs` and `outputs` keep
            different channels (an identity otherwise).
        inputs: segment of the input channels, or `image`.
        outputs: segment of the output channels, or `classes`.
        kernel: side of the square kernel.
        stride_in: side of the image / side of the input map; 0 for a pooled vector.
        stride_out: likewise for the output map.
        norm: module name of the batch norm that follows, or None.
    """

    name: str
    kind: str
    inputs: str
    outputs: str
    kernel: int = 1
    stride_in: int = 0
    stride_out: int = 0
    norm: str | None = None


@dataclass(frozen=True)
class SearchSpace:
    """All 0/1 channel codes of one network. 1 keeps a channel, 0 cuts it.

    Attributes:
        name: the space's name.
        network: keys of the network's family, as `evoprune.networks` takes them.
        segments: in the order of the code.
        layers: every layer with channels, in network order.
        parameters: `width`, `num_classes`, `in_channels`, `image_size`.
    """

    name: str
    network: Mapping[str, Any]
    segments: tuple[Segment, ...]
    layers: tuple[Layer, ...]
    parameters: Mapping[str, int]

    @property
    def length(self) -> int:
        """Number of bits of a code."""
        return sum(segment.width for segment in self.segments)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.array([segment.start for segment in self.segments])

    @cached_property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """Segments in groups, in the order of the code: those that an adapter joins stand together.

        Where they keep the same channels the adapter vanishes, and a channel of one is the same channel of the other.
        """
        width = {segment.name: segment.width for segment in self.segments}
        group = {name: name for name in width}
        for layer in self.layers:
            if layer.kind == "adapter" and width[layer.inputs] == width[layer.outputs]:
                joined, gone = group[layer.inputs], group[layer.outputs]
                group = {name: joined if head == gone else head for name, head in group.items()}
        heads = dict.fromkeys(group.values())
        return tuple(tuple(name for name in width if group[name] == head) for head in heads)

    def full_code(self) -> Code:
        """The code that keeps every channel, shape (length,)."""
        return np.ones(self.length, dtype=np.uint8)

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

    def repair(self, code: npt.ArrayLike) -> Code:
        """Return a code in which no segment is empty: an empty one keeps its first channel."""
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

    def adapters(self, code: npt.ArrayLike) -> list[str]:
        """Names of the adapter layers that this code needs."""
        kept = self.kept(code)
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


def load_search_space(
    name: str,
    width: int | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
) -> SearchSpace:
    """Load a search space by its name (`resnet20`) or from a YAML file of the user's.

    Args:
        name: a name that evoprune carries, or a path that ends in .yaml.
        width: channels of the narrowest segment.
        num_classes: outputs of the classifier.
        in_channels: channels of the image.
        image_size: side of the square image in pixels; costs depend on it, weights do not.

    Raises:
        UserError: unknown name, malformed file, or a parameter below 1.
    """
    path = find_carried_file("search_spaces", name)
    given = {"width": width, "num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    document = read_yaml(path)
    try:
        parameters = {
            **document["parameters"],
            **{key: value for key, value in given.items() if value is not None},
        }
        space = _build_space(document, parameters)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a search space: {type(error).__name__} {error}; compare search_spaces/resnet20.yaml"
        ) from None
    _check_space(space, path.name)
    return space


def _build_space(document: Mapping[str, Any], parameters: dict[str, int]) -> SearchSpace:
    for key, value in parameters.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"search space parameter {key} is a whole number of at least 1, got {value!r}")
    segments, start = [], 0
    for row in document["segments"]:
        times = row["times"]
        if not isinstance(times, int) or isinstance(times, bool) or times < 1:
            raise UserError(f"segment {row['name']}: times is a whole number of at least 1, got {times!r}")
        segment = Segment(row["name"], times * parameters["width"], start)
        segments.append(segment)
        start += segment.width
    layers = tuple(Layer(**{"kind": "conv", **row}) for row in document["layers"])
    return SearchSpace(document["name"], document["network"], tuple(segments), layers, parameters)


def _check_space(space: SearchSpace, source: str) -> None:
    if sorted(space.parameters) != sorted(PARAMETERS):
        raise UserError(f"{source}: parameters are {', '.join(PARAMETERS)}, got {', '.join(space.parameters)}")
    names = [segment.name for segment in space.segments]
    if len(set(names)) != len(names):
        raise UserError(f"{source}: a segment name stands twice in {names}")
    for layer in space.layers:
        if layer.kind not in LAYER_KINDS:
            raise UserError(f"{source}: layer {layer.name}: kind {layer.kind!r}; {suggest(layer.kind, LAYER_KINDS)}")
        for side, outside in ((layer.inputs, "image"), (layer.outputs, "classes")):
            if side not in names and side != outside:
                raise UserError(
                    f"{source}: layer {layer.name}: unknown segment {side!r}; {suggest(side, [*names, outside])}"
                )
