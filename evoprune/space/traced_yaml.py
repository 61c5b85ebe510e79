"""The search space of a traced network as a YAML file: people read it, and no torch is needed to read it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import write_atomically
from evoprune.common.yaml_files import format_rows, read_yaml
from evoprune.config.space_files import FORMAT, check_traced
from evoprune.space.axes import MOST_INDICES, Term, format_axis, parse_axis
from evoprune.space.groups import MOST_BITS, MOST_OPERATIONS, Segment
from evoprune.space.table import Array, ChannelTable, EqualParts, LayerRow, PadRow, Pin, TensorRow
from evoprune.space.traced import TracedSpace, layers_of

_HEAD = """\
# The search space of a network, as evoprune has read it from the network itself.
# An axis is a number of channels that are never cut, or the name of a segment, or the name of one of `axes`.
# conv1[0:8] are some channels of the segment conv1, conv1 x49 has each of its channels 49 times in a row.
"""


def write_space(space: TracedSpace, path: Path) -> None:
    """Write a file that `read_space` reads."""
    axes = _Axes(space.table.segments)
    table = space.table
    document = {
        "format": FORMAT,
        "name": space.name,
        "network": dict(space.network),
        "parameters": {name: list(one) if isinstance(one, tuple) else one for name, one in space.parameters.items()},
        "segments": [
            {"name": segment.name, "width": segment.width, "written_by": ", ".join(table.writers[segment.name])}
            for segment in table.segments
        ],
        "pinned": [{"reason": pin.reason, "layers": ", ".join(pin.layers)} for pin in table.pins],
        "layers": [_layer(row, axes) for row in table.layers],
        "tensors": [_tensor(row, axes) for row in table.tensors],
        "equal_parts": [{"name": row.name, "parts": [axes.name(bits) for bits in row.bits]} for row in table.parts],
        "pads": [
            {"module": row.module, "axis": row.axis, "channels": axes.name(row.bits), "before": row.before,
             "after": row.after}
            for row in table.pads
        ],
        "axes": axes.known,
    }  # fmt: skip
    write_atomically(path, _HEAD + format_rows(document))


def read_space(path: Path) -> TracedSpace:
    """Read what `write_space` wrote, or a person did.

    Raises:
        UserError: a file that is no search space of a traced network.
    """
    return parse_space(read_yaml(path), path)


def parse_space(document: Any, path: Path) -> TracedSpace:
    """The search space of a document; `path` names it in errors."""
    if not is_traced(document):
        raise UserError(f"{path}: not the search space of a traced network, which says `format: {FORMAT}`")
    checked = check_traced(document, str(path))
    try:
        return _space(checked)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"{path}: not the search space of a network: {type(error).__name__} {reason_of(error)}; `evoprune space` "
            "writes one"
        ) from None


def read_fitting_space(path: Path, network: Mapping[str, Any], shape: Mapping[str, Any], advice: str) -> TracedSpace:
    """Read the search space of a network at the shape of the data.

    Raises:
        UserError: a file of another network or shape, with `advice`.
    """
    space = read_space(path)
    for there, here in ((space.network, network), (space.parameters, shape)):
        other = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if other:
            listed = ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in other)
            raise UserError(f"{path}: of another network or other images: {listed}; {advice}")
    return space


def is_traced(document: Any) -> bool:
    """Whether a YAML document is the search space of a traced network."""
    return isinstance(document, dict) and document.get("format") == FORMAT


class _Axes:
    """Axes as text; one of several terms gets a name, and is written once."""

    def __init__(self, segments: Sequence[Segment]):
        self._segments = segments
        self._names: dict[bytes, str | int] = {}
        self.known: dict[str, list[Any]] = {}

    def name(self, bits: Array) -> str | int:
        """What stands for an axis."""
        key = bits.tobytes()
        if key not in self._names:
            terms = format_axis(bits, self._segments)
            if len(terms) == 1:
                self._names[key] = terms[0]
            else:
                self._names[key] = f"axis {len(self.known) + 1}"
                self.known[str(self._names[key])] = terms
        return self._names[key]


def _layer(row: LayerRow, axes: _Axes) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "norm": row.norm,
        "inputs": axes.name(row.inputs),
        "outputs": axes.name(row.outputs),
        "groups": row.groups,
        "kernel": row.kernel,
        "positions": row.positions,
        "read_area": row.areas[0],
        "written_area": row.areas[1],
        "bias": row.has_bias,
    }


def _tensor(row: TensorRow, axes: _Axes) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name, "axes": [axes.name(bits) for bits in row.bits]}
    if row.groups > 1:
        found["groups"] = row.groups
    if not row.is_parameter:
        found["buffer"] = True
    return found


def _space(document: Mapping[str, Any]) -> TracedSpace:
    segments, start = [], 0
    for row in document["segments"]:
        segments.append(Segment(row["name"], row["width"], start))
        start += segments[-1].width
    if start > MOST_BITS:
        raise UserError(f"a code of {start:,} bits is too long, at most {MOST_BITS:,}; lower the widths of segments")
    table = _table(document, segments)
    operations = sum(row.positions * row.kernel * len(row.inputs) * len(row.outputs) for row in table.layers)
    if operations > MOST_OPERATIONS:
        raise UserError(f"{operations:,} multiply-adds are no network's; lower `kernel` or `positions` of layers")
    parameters = {name: tuple(one) if isinstance(one, list) else one for name, one in document["parameters"].items()}
    return TracedSpace(
        document["name"], dict(document["network"]), table.segments, layers_of(table), parameters, table
    )  # fmt: skip


def _table(document: Mapping[str, Any], segments: Sequence[Segment]) -> ChannelTable:
    by_name = {segment.name: segment for segment in segments}
    left = MOST_INDICES

    def parsed(terms: Sequence[Term]) -> Array:
        nonlocal left
        axis = parse_axis(terms, by_name, left)
        left -= len(axis)
        return axis

    named = {name: parsed(terms) for name, terms in document["axes"].items()}

    def bits(text: Term) -> Array:
        found = named.get(text) if isinstance(text, str) else None
        return parsed([text]) if found is None else found

    return ChannelTable(
        tuple(segments),
        {row["name"]: tuple(row["written_by"].split(", ")) for row in document["segments"]},
        tuple(
            TensorRow(row["name"], tuple(map(bits, row["axes"])), row["groups"], not row["buffer"])
            for row in document["tensors"]
        ),
        tuple(
            LayerRow(row["name"], row["kind"], bits(row["inputs"]), bits(row["outputs"]), row["groups"], row["kernel"],
                     row["positions"], (row["read_area"], row["written_area"]), row["bias"], row["norm"])
            for row in document["layers"]
        ),
        tuple(EqualParts(row["name"], np.stack(list(map(bits, row["parts"])))) for row in document["equal_parts"]),
        tuple(
            PadRow(row["module"], row["axis"], bits(row["channels"]), row["before"], row["after"])
            for row in document["pads"]
        ),
        tuple(Pin(row["reason"], tuple(filter(None, row["layers"].split(", ")))) for row in document["pinned"]),
    )  # fmt: skip
