"""What a rule of an operator sees: values whose axes have labels, the call itself, and notes to write down."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx

from evoprune.tracing.labels import Array, Axis, Labels

Axes = tuple[Axis, ...]


class UnreadableError(Exception):
    """A call that a rule cannot follow: all channels that it touches are pinned."""


class Arguments(dict[str, Any]):
    """Arguments of a call by name. One that is not there makes the call unreadable."""

    def __missing__(self, name: str) -> Any:
        raise UnreadableError


@dataclass(frozen=True)
class Value:
    """A tensor in the graph.

    Attributes:
        shape: its sizes.
        axes: labels of each axis; None where nothing is ever cut.
        parameter: the name of the parameter or buffer that it is, if it is one.
    """

    shape: tuple[int, ...]
    axes: Axes
    parameter: str | None = None


@dataclass(frozen=True)
class LayerNote:
    """A convolution or linear layer in network order: what it reads and writes, and what that costs.

    Attributes:
        node: the name of its node.
        name: the layer's module name; that of its weight where this is not a module's `weight`.
        kind: `conv`, `depthwise` or `linear`.
        inputs: labels of what it reads, or None where nothing is ever cut.
        outputs: labels of its outputs, or None.
        sizes: number of inputs, of outputs.
        groups: groups of its inputs that keep equally many.
        kernel: area of the kernel.
        positions: places of one image at which the kernel is applied.
        areas: pixels of the map that is read, and of the map that is written.
        has_bias: whether it has a bias.
    """

    node: str
    name: str
    kind: str
    inputs: Axis
    outputs: Axis
    sizes: tuple[int, int]
    groups: int
    kernel: int
    positions: int
    areas: tuple[int, int]
    has_bias: bool


@dataclass(frozen=True)
class PartsNote:
    """An axis whose parts must keep equally many channels.

    Attributes:
        name: who needs it.
        labels: shape (parts, channels of a part).
    """

    name: str
    labels: Array


@dataclass(frozen=True)
class PadNote:
    """Constant channels that a module puts around what it reads.

    Attributes:
        module: the module's name.
        axis: where they are put.
        before: labels of those that come first.
        middle: labels of what the module reads.
        after: labels of those that come last.
    """

    module: str
    axis: int
    before: Array
    middle: Array
    after: Array


@dataclass(frozen=True)
class SizesNote:
    """A node whose call has sizes in it as numbers, which may or may not follow the width of what comes in.

    Attributes:
        node: its name.
        place: for people.
        line: the line of code that makes the call.
        labels: those that the sizes concern.
    """

    node: str
    place: str
    line: str
    labels: Array


@dataclass
class Notes:
    """All that the rules write down while they walk through a graph."""

    labels: Labels = field(default_factory=Labels)
    written: list[tuple[str, Array]] = field(default_factory=list)  # layer and labels of its outputs, in order
    layers: list[LayerNote] = field(default_factory=list)
    norms: dict[str, str] = field(default_factory=dict)  # node that a batch norm alone reads -> the norm's module
    grouped: dict[str, tuple[int, Array]] = field(default_factory=dict)  # weight -> groups, labels of all inputs
    parts: list[PartsNote] = field(default_factory=list)
    pads: list[PadNote] = field(default_factory=list)
    sizes: list[SizesNote] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        node: of the graph.
        arguments: by the names of the operator's schema; tensors are `Value`.
        shapes: sizes of each tensor that it returns.
        notes: shared by all calls.
        batch: images in the example.
    """

    node: fx.Node
    arguments: Arguments
    shapes: tuple[tuple[int, ...], ...]
    notes: Notes
    batch: int

    @property
    def labels(self) -> Labels:
        """All labels of the network."""
        return self.notes.labels

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the one tensor that it returns."""
        return self.shapes[0]

    @property
    def module(self) -> str:
        """Name of the module in whose forward the call stands; empty for the network itself."""
        return module_of(self.node)

    @property
    def place(self) -> str:
        """The operator and where it stands, for people."""
        return f"{operator_name(self.node)} in {self.module or 'the network itself'}"

    def value(self, *names: str) -> Value:
        """The tensor that is passed under one of these names.

        Raises:
            UnreadableError: it is no tensor.
        """
        given = next((self.arguments[name] for name in names if name in self.arguments), None)
        if not isinstance(given, Value):
            raise UnreadableError
        return given

    def values(self) -> Iterator[Value]:
        """All tensors that are passed, those in lists too."""
        return _values(self.arguments.values())

    def pin(self, axis: Axis, why: str) -> None:
        """Pin labels with a reason that names the call."""
        self.labels.pin(axis, f"{why}: {self.place}")

    def tie(self, first: Axis, second: Axis) -> None:
        """Tie two axes of equal size; one of which nothing is cut pins the other."""
        if first is None or second is None:
            self.pin(first if second is None else second, "meets channels that are never cut")
        else:
            self.labels.tie(first, second)

    def per_image(self, count: int) -> int:
        """Of so many rows those of one image; all, where they are no multiple of the images and so the same for all."""
        return count if count % self.batch else count // self.batch

    def has_sizes(self, labels: Array) -> None:
        """The call has sizes as numbers, and they concern these labels."""
        self.notes.sizes.append(SizesNote(self.node.name, self.place, line_of(self.node) or self.place, labels))

    def must_divide(self, labels: Array, parts: int) -> None:
        """The labels, cut into equal parts, keep equally many in each."""
        if parts == len(labels):
            self.pin(labels, "parts of one channel")
        elif parts > 1:
            self.notes.parts.append(PartsNote(self.place, labels.reshape(parts, -1)))


def _values(given: Any) -> Iterator[Value]:
    for item in given:
        if isinstance(item, Value):
            yield item
        elif isinstance(item, list | tuple):
            yield from _values(item)


def operator_name(node: fx.Node) -> str:
    """The operator's plain name: `add` for `aten.add_.Tensor`; with its library in front if that is not torch's."""
    name = str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target))
    space = getattr(node.target, "namespace", "aten")
    name = name if name.startswith("_") else name.rstrip("_")
    return name if space == "aten" else f"{space}.{name}"


def module_of(node: fx.Node) -> str:
    """Name of the innermost module in whose forward a node stands."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def line_of(node: fx.Node) -> str:
    """File and line of the code that makes a node; empty where the graph does not say it."""
    return str(node.meta.get("stack_trace") or "").rpartition("File ")[2].partition(", in ")[0]


def sizes_of(node: fx.Node) -> tuple[tuple[int, ...], ...]:
    """Sizes of every tensor that a node returns."""
    made = node.meta.get("val")
    made = made if isinstance(made, list | tuple) else [made]
    return tuple(tuple(int(size) for size in item.shape) for item in made if isinstance(item, Tensor))
