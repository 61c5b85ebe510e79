"""Which layers lose which share of their weights. No torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from evoprune.common.errors import UserError, suggest
from evoprune.config import WeightsConfig


@dataclass(frozen=True)
class Group:
    """Weights that are ranked together: the smallest of them go.

    Attributes:
        parameters: their names in the network's state.
        sparsity: share of them that goes, in [0, 1].
        start: share of them that is out where a rise to `sparsity` begins.
    """

    parameters: tuple[str, ...]
    sparsity: float
    start: float = 0.0

    def at(self, share: float) -> float:
        """The sparsity when the share `share` of the rise is done."""
        return self.start + share * (self.sparsity - self.start)


def make_groups(layers: Sequence[Any], outputs: Collection[str], config: WeightsConfig) -> tuple[Group, ...]:
    """Who is ranked with whom: layers with ratios of their own each alone, the others as `weights.scope` says.

    A ratio goes to the layer of that name, or to all whose names match a glob such as `layer1.*`, or to all of a kind:
    `conv`, `depthwise` or `linear`. A name comes before a glob, and a glob before a kind; of two globs the first
    counts. Layers that write the network's outputs are left alone, unless a ratio names one.

    Args:
        layers: the `WeightLayer`s of the network.
        outputs: names of those that write the network's outputs.
        config: sparsity, scope, and ratios by layer.

    Raises:
        UserError: a ratio that no layer takes, or nothing that says how much is to go.
    """
    own: dict[str, float] = {}
    known = {layer.name for layer in layers}
    for pattern, ratio in _by_precision(config.layers, known):
        names = [pattern] if pattern in known else _meant(pattern, layers, outputs)
        if not names:
            raise UserError(f"weights.layers: {_unmatched(pattern, layers)}")
        own = {**dict.fromkeys(names, ratio), **own}
    if config.sparsity is None and not own:
        raise UserError(
            "how many weights are to go is not said; add --sparsity 0.5, or ratios by layer: weights.layers"
        )
    groups = [Group((layer.parameter,), own[layer.name]) for layer in layers if layer.name in own]
    others = tuple(layer.parameter for layer in layers if layer.name not in own and layer.name not in outputs)
    if config.sparsity is None or not others:
        return tuple(groups)
    together = [others] if config.scope == "global" else [(parameter,) for parameter in others]
    return (*groups, *(Group(parameters, config.sparsity) for parameters in together))


def _by_precision(ratios: Mapping[str, float], names: Collection[str]) -> list[tuple[str, float]]:
    """Names first, then globs, then kinds."""
    return sorted(ratios.items(), key=lambda item: 0 if item[0] in names else 1 if _is_glob(item[0]) else 2)


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _meant(pattern: str, layers: Sequence[Any], outputs: Collection[str]) -> list[str]:
    """The layers that a glob or a kind means."""
    kind = None if _is_glob(pattern) else pattern
    others = [layer for layer in layers if layer.name not in outputs]
    return [layer.name for layer in others if layer.kind == kind or (not kind and fnmatchcase(layer.name, pattern))]


def _unmatched(pattern: str, layers: Sequence[Any]) -> str:
    """Why a ratio goes to no layer."""
    if writers := _meant(pattern, layers, ()):
        return (
            f"{pattern!r} matches only layers that write the network's outputs, which are pruned by their names alone; "
            f"name them: {', '.join(writers)}"
        )
    return f"{pattern!r} matches no layer; {_allowed(pattern, layers)}"


def _allowed(pattern: str, layers: Sequence[Any]) -> str:
    kinds = dict.fromkeys(layer.kind for layer in layers)
    return f"{suggest(pattern, [*(layer.name for layer in layers), *kinds])}, or a glob such as 'layer1.*'"
