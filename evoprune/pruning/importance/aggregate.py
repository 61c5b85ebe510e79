"""From scores of every layer's output channels to one score for each bit of a code. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evoprune.common.errors import UserError
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace

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
    result = np.empty(space.length)
    for group in space.groups:
        written = [found.outputs.get(layer.name) for layer in space.layers if layer.outputs in group.segments]
        read = [found.inputs.get(layer.name) for layer in space.layers if layer.inputs in group.segments]
        scores = [values for values in (*written, *read) if values is not None]
        if not scores:
            raise UserError(
                f"importance.criterion: no layer of {', '.join(group.segments)} has a score; bn_scale needs a batch "
                "norm behind it, least_squares and activation a layer that reads it and whose inputs were measured; "
                "consumer_l2 needs neither"
            )
        group.put(result, np.mean(scores, axis=0))
    return result


def relative(scores: LayerScores) -> dict[str, Scores]:
    """Scores divided by the mean of their absolute values in each layer, for layers differ in scale."""
    return {name: _relative(values) for name, values in scores.items()}


def _relative(values: Scores) -> Scores:
    scale = np.abs(values).mean()
    return values / scale if scale > 0 else values
