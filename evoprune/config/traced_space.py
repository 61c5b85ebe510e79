"""The file of a traced network's search space as plain data: which keys it has, and what may stand there."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

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


class _Segment(Strict):
    name: _Name
    width: _Size
    written_by: _Text


class _Pin(Strict):
    reason: _Text
    layers: _Text


class _Layer(Strict):
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
    """All of the file."""

    format: Literal["traced 1"]
    name: _Name
    network: dict[str, Any]
    parameters: dict[str, _Size | list[_Size]]
    segments: list[_Segment]
    pinned: list[_Pin]
    layers: list[_Layer]
    tensors: list[_Tensor]
    equal_parts: list[_EqualParts]
    pads: list[_Pad]
    axes: dict[str, list[_Term]]


def check_traced(document: Any, source: str) -> dict[str, Any]:
    """The document with all its keys; `source` names it in errors.

    Raises:
        UserError: with one line for each wrong key: its path, what came, what is allowed.
    """
    try:
        return TracedDocument.model_validate(document).model_dump()
    except ValidationError as error:
        raise UserError(f"{describe_errors(error, TracedDocument, source)}\n`evoprune space` writes one") from None
