"""Files of search spaces as plain data: which keys they have, and what may stand there."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from evoprune.common.errors import UserError
from evoprune.config.errors import describe_errors
from evoprune.config.section import Strict

FORMAT = "traced 1"
_Name = Annotated[str, Field(min_length=1, max_length=500)]
_Text = Annotated[str, Field(max_length=100_000)]
_Size = Annotated[int, Field(ge=1, le=10**6)]
_Number = Annotated[int, Field(ge=0, le=10**9)]
_Term = Annotated[int, Field(ge=1, le=10**6)] | _Name
"""Channels that are never cut, by their number, or a segment, some of it, or one of `axes`."""
_Document = TypeVar("_Document", bound=Strict)


class _TracedSegment(Strict):
    name: _Name
    width: _Size
    written_by: _Text


class _Pin(Strict):
    reason: _Text
    layers: _Text


class _TracedLayer(Strict):
    name: _Name
    kind: Literal["conv", "depthwise", "linear"]
    norm: _Name | None
    inputs: _Term
    outputs: _Term
    groups: _Size
    kernel: Annotated[int, Field(ge=0, le=10**6)]  # 0 where it runs in training only
    positions: _Number
    read_area: _Number
    written_area: _Number
    bias: bool


class _Tensor(Strict):
    name: _Name
    axes: list[_Term]
    groups: _Size = 1
    buffer: bool = False


class _EqualParts(Strict):
    name: _Name
    parts: Annotated[list[_Term], Field(min_length=1)]


class _Pad(Strict):
    module: _Name
    axis: _Number
    channels: _Term
    before: _Number
    after: _Number


class TracedDocument(Strict):
    """The search space of a network that evoprune has read itself."""

    format: Literal["traced 1"]
    name: _Name
    network: dict[str, Any]
    parameters: dict[str, _Size | list[_Size]]
    segments: list[_TracedSegment]
    pinned: list[_Pin]
    layers: list[_TracedLayer]
    tensors: list[_Tensor]
    equal_parts: list[_EqualParts]
    pads: list[_Pad]
    axes: dict[str, list[_Term]]


def _one_line(name: str) -> str:
    if not name.isprintable() or "/" in name:
        raise ValueError("printable characters without /")
    return name


_Line = Annotated[_Name, AfterValidator(_one_line)]


class _Parameters(Strict):
    width: _Size
    num_classes: _Size
    in_channels: _Size
    image_size: _Size | Annotated[list[_Size], Field(min_length=2, max_length=2)]


class _Segment(Strict):
    name: _Line
    times: _Size


class _Layer(Strict):
    name: _Line
    kind: Literal["conv", "linear", "adapter"] = "conv"
    inputs: _Line
    outputs: _Line
    kernel: _Size = 1
    stride_in: _Number = 0
    stride_out: _Number = 0
    norm: _Line | None = None


class WrittenDocument(Strict):
    """A search space that a person has written, of a family of networks."""

    name: _Line
    network: dict[str, Any]
    parameters: _Parameters
    segments: Annotated[list[_Segment], Field(min_length=1)]
    layers: Annotated[list[_Layer], Field(min_length=1)]


def check_traced(document: Any, source: str) -> dict[str, Any]:
    """The document of a traced network's search space with all its keys; `source` names it in errors.

    Raises:
        UserError: with one line for each wrong key: its path, what came, what is allowed.
    """
    return _check(TracedDocument, document, source, "`evoprune space` writes one").model_dump()


def check_written(document: Any, source: str) -> WrittenDocument:
    """The document of a search space that a person has written; `source` names it in errors.

    Raises:
        UserError: with one line for each wrong key: its path, what came, what is allowed.
    """
    return _check(WrittenDocument, document, source, "compare search_spaces/resnet20.yaml")


def _check(model: type[_Document], document: Any, source: str, advice: str) -> _Document:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{describe_errors(error, model, source)}\n{advice}") from None
