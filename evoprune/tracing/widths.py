"""Finds what a network's `forward` needs at a fixed width: narrow copies run, and are held against the labels."""

import copy
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.space.table import ChannelTable, Code
from evoprune.tracing.call import sizes_of
from evoprune.tracing.graph import Graph, export
from evoprune.tracing.labels import Array
from evoprune.tracing.surgery import in_place_of, kept_bits, narrow

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
    weightless, like = _without_weights(network, example)
    while (table := graph.table()).segments:
        trial = _Trial(graph, table, weightless, like)
        if not trial.runs(range(len(table.segments))):
            found = trial.of_segments()
        elif wrong := trial.wrong_nodes(network, example):
            found = trial.of_nodes(wrong)
        else:
            return table
        for labels, name in found:
            graph.notes.labels.pin(labels, f"{_REASON}: {name}")
    return table


def _without_weights(network: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """Copies on the meta device, where nothing is computed; the network and the example where it cannot run there."""
    every = (*network.parameters(), *network.buffers())
    tensors: dict[int, Any] = {id(one): in_place_of(one, one.to("meta")) for one in every}
    copied, like = copy.deepcopy(network, tensors), example.to("meta")
    return (copied, like) if _runs(copied, like) else (network, example)


def _runs(network: nn.Module, example: Tensor) -> bool:
    """Whether a forward passes without an error, of whatever kind."""
    try:
        with torch.no_grad(), example.device:
            network(example)
    except Exception:
        return False
    return True


class _Trial:
    """Narrow copies of a network, by the table as it is now."""

    def __init__(self, graph: Graph, table: ChannelTable, network: nn.Module, example: Tensor) -> None:
        self.graph, self.table, self.network, self.example = graph, table, network, example
        roots = graph.notes.labels.find(np.arange(graph.notes.labels.count))
        of_root = np.full(len(roots), -1, dtype=np.int64)
        for (value, _), row in zip(graph.parameters.values(), table.tensors, strict=True):
            for labels, bits in zip(value.axes, row.bits, strict=True):
                if labels is not None and len(labels) == len(bits):  # a grouped weight's row has all of its inputs
                    of_root[roots[labels]] = bits
        self.bits: Array = of_root[roots]

    def runs(self, segments: Collection[int]) -> bool:
        """Whether the network runs when these segments keep half."""
        code = self.table.half_code(self.table.segments[index] for index in segments)
        return _runs(narrow(self.table, self.network, code), self.example)

    def wrong_nodes(self, network: nn.Module, example: Tensor) -> list[str]:
        """Nodes of a network with weights that have other sizes than the labels say when all segments keep half."""
        names = dict.fromkeys(note.node for note in self.graph.notes.sizes)
        if not names:
            return []
        kept = kept_bits(self.table, self.table.half_code(self.table.segments))
        try:
            program = export(narrow(self.table, network, kept[:-1]), example)
        except UserError:  # it runs, and yet it cannot be read: none of its sizes can be trusted
            return list(names)
        there = {node.name: sizes_of(node) for node in program.graph.nodes}
        return [name for name in names if there.get(name) != self._expected(name, kept)]

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
        lines: dict[str, dict[tuple[int, ...], str]] = defaultdict(dict)
        for note in self.graph.notes.sizes:
            if some := tuple(self._segments_of(note.labels)):
                lines[note.line].setdefault(some, note.place)
        meet = {some: place for line in lines.values() for some, place in line.items()}
        suspects = [some for line in lines.values() for some in self._of_line(list(line))]
        if not suspects:
            meet = {(index,): segment.name for index, segment in enumerate(self.table.segments)}
            suspects = self._culprits(list(meet))
        return [(self._labels_of(some), meet[some]) for some in suspects] or self._everything()

    def _of_line(self, suspects: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Those of one line of code; all of them where it fails in the first place that it is used."""
        if self.runs({index for some in suspects for index in some}):
            return []
        return self._culprits(suspects) if self.runs(suspects[0]) else suspects

    def _culprits(self, suspects: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Those sets of segments with which alone nothing runs. Where many run together, they are not tried alone."""
        if not suspects or self.runs({index for some in suspects for index in some}):
            return []
        if len(suspects) == 1:
            return suspects
        middle = len(suspects) // 2
        return [*self._culprits(suspects[:middle]), *self._culprits(suspects[middle:])]

    def _segments_of(self, labels: Array) -> list[int]:
        bits = self.bits[labels]
        return sorted(set(self.table.segment_of[bits[bits >= 0]].tolist()))

    def _labels_of(self, segments: Iterable[int]) -> Array:
        free = np.flatnonzero(self.bits >= 0)
        return free[np.isin(self.table.segment_of[self.bits[free]], list(segments))]

    def _everything(self) -> list[tuple[Array, str]]:
        return [(np.flatnonzero(self.bits >= 0), "somewhere")]
