"""From scores of every layer's output channels to one score for each bit of a code. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evoprune.errors import UserError
from evoprune.space import SearchSpace

Scores = npt.NDArray[np.float64]
LayerScores = Mapping[str, Scores]
"""Layer name -> importance of its output channels, shape (channels,), larger is more important."""


@dataclass(frozen=True)
class Importance:
    """Scores of the layers of a network, and what is to be reported of how they came about.

    Attributes:
        scores: of every scored layer.
        facts: JSON types.
        parts: what the scores were computed from, by name, for the same layers and channels.
    """

    scores: LayerScores
    facts: dict[str, Any]
    parts: Mapping[str, LayerScores] = field(default_factory=dict)


def segment_scores(space: SearchSpace, scores: LayerScores) -> Scores:
    """Aggregate over everything that is kept or cut together, shape (space.length,).

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
    by_name = {segment.name: segment for segment in space.segments}
    for group in space.tied:
        written = [scores[layer.name] for layer in space.layers if layer.outputs in group and layer.name in scores]
        if not written:
            raise UserError(
                f"importance.criterion: no layer that writes to {', '.join(group)} has a score; bn_scale needs a batch "
                "norm, other criteria do not"
            )
        mean = np.mean([_scaled(values) for values in written], axis=0)
        for name in group:
            result[by_name[name].slice] = mean
    return result


def _scaled(values: Scores) -> Scores:
    scale = np.abs(values).mean()
    return values / scale if scale > 0 else values


def ranks(space: SearchSpace, scores: Scores) -> Scores:
    """Mid-rank of every channel inside its segment, scaled to (0, 1), ties averaged; shape (space.length,)."""
    result = np.empty(space.length)
    for segment in space.segments:
        values = scores[segment.slice]
        below = (values[None] < values[:, None]).sum(axis=1)
        equal = (values[None] == values[:, None]).sum(axis=1)
        result[segment.slice] = (below + equal / 2) / segment.width
    return result
