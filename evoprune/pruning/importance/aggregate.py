"""From scores of every layer's output channels to one score for each bit of a code. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evoprune.common.errors import UserError
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace

LayerScores = Mapping[str, Scores]
"""Layer name -> importance of its output channels, shape (channels,), larger is more important."""


@dataclass(frozen=True)
class Importance:
    """Scores of the layers of a network, and what is to be reported of how they came about.

    Attributes:
        scores: of every scored layer.
        facts: JSON types.
        parts: what the scores were computed from, by name, for the same layers and channels.
        warnings: what a user should know.
    """

    scores: LayerScores
    facts: dict[str, Any]
    parts: Mapping[str, LayerScores] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def segment_scores(space: SearchSpace, scores: LayerScores) -> Scores:
    """Aggregate over everything that is kept or pruned together, shape (space.length,).

    The scores of a layer are divided by the mean of their absolute values, for layers differ in scale. A channel's
    score is then the mean over the layers that write to its segment, or to a segment that an adapter ties to it: a
    channel of the stem and the same channel of the first trunk are the same feature, unless a code separates them.

    Args:
        space: the search space.
        scores: of any of its layers, but of one at least for every tied group of segments.

    Raises:
        UserError: a tied group of which no layer has scores.
    """
    result = np.empty(space.length)
    for group in space.groups:
        writers = [layer.name for layer in space.layers if layer.outputs in group.segments and layer.name in scores]
        written = [scores[name] for name in writers]
        if not written:
            raise UserError(
                f"importance.criterion: no layer that writes to {', '.join(group.segments)} has a score; "
                "bn_scale needs a batch norm, other criteria do not"
            )
        group.put(result, np.mean([_scaled(values) for values in written], axis=0))
    return result


def _scaled(values: Scores) -> Scores:
    scale = np.abs(values).mean()
    return values / scale if scale > 0 else values
