"""Finds what a network's `forward` needs at a fixed width: narrow copies are exported and held against the labels."""

from collections.abc import Collection, Iterable

import numpy as np
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.space.table import ChannelTable, Code
from evoprune.tracing.call import sizes_of
from evoprune.tracing.graph import Graph, export
from evoprune.tracing.labels import Array
from evoprune.tracing.surgery import kept_bits, narrow

_REASON = "the forward has its width fixed"


def pin_fixed_widths(graph: Graph, network: nn.Module, example: Tensor) -> ChannelTable:
    """Pin all channels whose number the network's own code cannot have another way.

    Such are numbers in a `view` or a slice that do not follow the width of what comes in.

    Args:
        graph: of the network; gets the new pins.
        network: in eval mode.
        example: an input.

    Returns:
        The table of what is left.
    """
    while (table := graph.table()).segments:
        trial = _Trial(graph, table, network, example)
        wrong = trial.wrong_nodes(range(len(table.segments)))
        if wrong == []:
            return table
        for labels, name in trial.of_nodes(wrong) if wrong else trial.of_segments():
            graph.notes.labels.pin(labels, f"{_REASON}: {name}")
    return table


class _Trial:
    """Narrow copies of a network, by the table as it is now."""

    def __init__(self, graph: Graph, table: ChannelTable, network: nn.Module, example: Tensor) -> None:
        self.graph, self.table, self.network, self.example = graph, table, network, example
        roots = graph.notes.labels.find(np.arange(graph.notes.labels.count))
        of_root = np.full(len(roots), -1, dtype=np.int64)
        for note, row in zip(graph.notes.layers, table.layers, strict=True):
            if note.outputs is not None:
                of_root[roots[note.outputs]] = row.outputs
        self.bits: Array = of_root[roots]
        self.segment_of = np.repeat(np.arange(len(table.segments)), [segment.width for segment in table.segments])

    def wrong_nodes(self, segments: Collection[int]) -> list[str] | None:
        """Nodes with other sizes than the labels say when these segments keep half; None where nothing runs."""
        kept = kept_bits(self.table, self._half(segments))
        try:
            program = export(narrow(self.table, self.network, kept[:-1]), self.example)
        except UserError:
            return None
        there = {node.name: sizes_of(node) for node in program.graph.nodes}
        names = dict.fromkeys(note.node for note in self.graph.notes.sizes)
        return [name for name in names if there.get(name) != self._expected(name, kept)]

    def _half(self, segments: Collection[int]) -> Code:
        """A code without every second channel of some segments."""
        code = self.table.full_code()
        for index in segments:
            code[self.table.segments[index].slice][1::2] = 0
        return code

    def _expected(self, name: str, kept: Code) -> tuple[tuple[int, ...], ...]:
        """Sizes of what a node returns when the labels are right."""
        value = self.graph.values[name]
        return tuple(
            tuple(size if labels is None else int(kept[self.bits[labels]].sum())
                  for size, labels in zip(one.shape, one.axes, strict=True))
            for one in (value if isinstance(value, list) else [value]) if one is not None
        )  # fmt: skip

    def of_nodes(self, names: Collection[str]) -> Iterable[tuple[Array, str]]:
        """Labels that some nodes have to do with; all there are where these are pinned already."""
        found = [(note.labels, note.place) for note in self.graph.notes.sizes if note.node in names]
        is_news = any((self.bits[labels] >= 0).any() for labels, _ in found)
        return found if is_news else self._everything()

    def of_segments(self) -> Iterable[tuple[Array, str]]:
        """Labels of segments with which nothing runs: first those that meet numbers in the code, then any."""
        meet: dict[tuple[int, ...], str] = {}
        for note in self.graph.notes.sizes:
            meet.setdefault(tuple(self._segments_of(note.labels)), note.place)
        suspects = {some: name for some, name in meet.items() if some and self.wrong_nodes(some) is None}
        if not suspects:
            alone = (((index,), segment.name) for index, segment in enumerate(self.table.segments))
            suspects = {some: name for some, name in alone if self.wrong_nodes(some) is None}
        found = [(self._labels_of(some), name) for some, name in suspects.items()]
        return found or self._everything()

    def _segments_of(self, labels: Array) -> list[int]:
        bits = self.bits[labels]
        return sorted(set(self.segment_of[bits[bits >= 0]].tolist()))

    def _labels_of(self, segments: Iterable[int]) -> Array:
        free = np.flatnonzero(self.bits >= 0)
        return free[np.isin(self.segment_of[self.bits[free]], list(segments))]

    def _everything(self) -> list[tuple[Array, str]]:
        return [(np.flatnonzero(self.bits >= 0), "somewhere")]
