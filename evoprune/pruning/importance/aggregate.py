"""From scores of every layer's output channels to one score for each bit of a code. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evoprune.common.errors import UserError
from evoprune.space.groups import ChannelGroup
from evoprune.space.ranking import Scores
from evoprune.space.space import Bits, SearchSpace

LayerScores = Mapping[str, Scores]
"""Layer name -> importance of its output or its input channels, shape (channels,), larger is more important."""


@dataclass(frozen=True)
class Importance:
    """Scores of the layers of a network, comparable between layers, and what is to be reported of how they came about.

    Attributes:
        outputs: of the channels that layers write.
        facts: JSON types.
        inputs: of the channels that layers read.
        parts: what scores of outputs were computed from, by name, for the same layers and channels.
        warnings: what a user should know.
    """

    outputs: LayerScores
    facts: dict[str, Any]
    inputs: LayerScores = field(default_factory=dict)
    parts: Mapping[str, LayerScores] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def segment_scores(space: SearchSpace, found: Importance) -> Scores:
    """Aggregate over everything that is kept or pruned together, shape (space.length,).

    A channel's score is the mean over the layers that write it and those that read it, of those that have scores. Tied
    segments have the same: a channel of the stem and the same channel of the first trunk are the same feature, unless a
    code separates them.

    Args:
        space: the search space.
        found: has scores of one layer at least for every group.

    Raises:
        UserError: a group of which no layer has scores.
    """
    totals, counts = _sums(space, found)
    for group in space.groups:
        total, count = (sum(values[place] for place in group.slices) for values in (totals, counts))
        if not np.all(count):
            raise UserError(
                f"importance.criterion: no layer of {', '.join(group.segments)} has a score; bn_scale needs a batch "
                "norm behind it, activation a layer that reads it and whose inputs were measured; consumer_l2 needs "
                "neither"
            )
        group.put(totals, total / count)
    return totals


def unscored_groups(space: SearchSpace, found: Importance) -> list[ChannelGroup]:
    """Groups of which no layer has scores."""
    _, counts = _sums(space, found)
    return [group for group in space.groups if not np.all(sum(counts[place] for place in group.slices))]


def _sums(space: SearchSpace, found: Importance) -> tuple[Scores, Scores]:
    """Of every bit the sum of its layers' scores, and how many there are, each of shape (length,)."""
    totals, counts = np.zeros(space.length), np.zeros(space.length)
    for layer in space.layers:
        for known, bits in ((found.outputs, space.output_bits), (found.inputs, space.input_bits)):
            if layer.name in known:
                _add(totals, counts, known[layer.name], bits(layer))
    return totals, counts


def _add(totals: Scores, counts: Scores, values: Scores, bits: Bits) -> None:
    """Add the scores of a layer's channels to those of their bits; of a bit that stands there often, their mean."""
    free = bits >= 0
    times = np.bincount(bits[free], minlength=len(totals))
    there = times > 0
    totals[there] += np.bincount(bits[free], values[free], len(totals))[there] / times[there]
    counts[there] += 1


def relative(scores: LayerScores) -> dict[str, Scores]:
    """Scores divided by the mean of their absolute values in each layer, for layers differ in scale."""
    return {name: _relative(values) for name, values in scores.items()}


def _relative(values: Scores) -> Scores:
    scale = np.abs(values).mean()
    return values / scale if scale > 0 else values
