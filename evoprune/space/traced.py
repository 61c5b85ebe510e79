"""The search space of a network that was traced: its codes, repaired by what the channel table says."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.space.groups import Layer
from evoprune.space.remap import fixed, narrowed
from evoprune.space.repair import repair
from evoprune.space.space import Bits, Code, SearchSpace
from evoprune.space.table import ChannelTable, LayerRow
from evoprune.space.traced_costs import TracedCosts


@dataclass(frozen=True)
class TracedSpace(SearchSpace):
    """All 0/1 channel codes of a network that was traced.

    Attributes:
        table: which bit keeps each index of each parameter.
    """

    table: ChannelTable

    @cached_property
    def costs(self) -> TracedCosts:
        """Costs of many codes."""
        return TracedCosts(self.table)

    def identity(self) -> list[Any]:
        """What the full network depends on, beside `parameters`, as JSON types."""
        return [self.name, dict(self.network)]

    def repair(self, code: npt.ArrayLike, scores: npt.NDArray[np.float64] | None = None) -> Code:
        """The nearest code that a network can be built from: no segment is empty, grouped layers stay even."""
        return repair(self.table, self.check(code), scores)

    def slim(self, code: npt.ArrayLike) -> "TracedSpace":
        """The search space of a slim network itself: every segment is as wide as the repaired `code` keeps it."""
        return self._with(narrowed(self.table, self.repair(code)))

    def without(self, segments: Collection[str], reason: str) -> "TracedSpace":
        """The search space in which the channels of some segments are never cut."""
        return self._with(fixed(self.table, segments, reason))

    def input_bits(self, layer: Layer) -> Bits:
        """The bit of each channel that a layer reads; -1 where it is never cut."""
        return self._rows[layer.name].inputs

    def output_bits(self, layer: Layer) -> Bits:
        """The bit of each channel that a layer writes; -1 where it is never cut."""
        return self._rows[layer.name].outputs

    @cached_property
    def _rows(self) -> dict[str, LayerRow]:
        return {row.name: row for row in reversed(self.table.layers)}

    def _with(self, table: ChannelTable) -> "TracedSpace":
        return replace(self, table=table, segments=table.segments, layers=layers_of(table))


def layers_of(table: ChannelTable) -> tuple[Layer, ...]:
    """The layers of a network, each once, with the segments of what they read and write.

    Several segments are joined by `+`; None stands for what is never cut.
    """
    names = np.array([segment.name for segment in table.segments], dtype=object)

    def segments(bits: Bits) -> str | None:
        return "+".join(names[np.unique(table.segment_of[bits[bits >= 0]])]) or None

    layers: dict[str, Layer] = {}
    for row in table.layers:
        layer = Layer(row.name, row.kind, segments(row.inputs), segments(row.outputs), norm=row.norm)
        layers.setdefault(row.name, layer)
    return tuple(layers.values())
