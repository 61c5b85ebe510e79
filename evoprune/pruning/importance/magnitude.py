"""Classic importance, from the weights of the layers that write a channel and of those that read it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from evoprune.networks.build import layer_module
from evoprune.pruning.importance.aggregate import LayerScores
from evoprune.space.groups import Layer
from evoprune.space.ranking import Scores
from evoprune.space.space import Bits, SearchSpace
from evoprune.space.traced import TracedSpace


def weight_scores(space: SearchSpace, network: nn.Module, criterion: str) -> LayerScores:
    """Scores of the output channels of every layer that writes to a segment, from its weights alone.

    Args:
        space: the search space of `network`.
        network: the full network.
        criterion: `l1` (Li et al. 2017), `l2`, `bn_scale` (|gamma|, Liu et al. 2017; layers with a batch norm only), or
            `geometric_median` (He et al. 2019: the sum of a filter's distances to all filters of its layer).
    """
    score = WEIGHT_CRITERIA[criterion]
    scored: dict[str, Scores] = {}
    for layer in writers(space, network):
        module = network.get_submodule(layer.name)
        norm = network.get_submodule(layer.norm) if layer.norm is not None else None
        values = score(outputs_first(module, _weight(module)), norm)
        if values is not None:
            scored[layer.name] = _numpy(values)
    return scored


def consumer_scores(space: SearchSpace, network: nn.Module) -> LayerScores:
    """L2 norm of what each layer's weights take from each of its input channels."""
    modules = {layer.name: network.get_submodule(layer.name) for layer in readers(space, network)}
    return {name: _numpy(_input_norms(module)) for name, module in modules.items()}


def parameter_norms(space: TracedSpace, network: nn.Module) -> Scores:
    """L2 norm of what all parameters have of each bit, whatever module they belong to; shape (space.length,)."""
    squares = np.zeros(space.length + 1)  # the last is where -1 points
    for row in (row for row in space.table.tensors if row.is_parameter):
        square = _numpy(network.get_parameter(row.name).detach().double()) ** 2
        by_group = square.reshape(row.groups, -1, *square.shape[1:])
        for axis, bits in enumerate(row.bits, start=1):
            own = {0, axis} if axis < 3 else {axis}  # each group has outputs and inputs of its own
            sums = by_group.sum(axis=tuple(set(range(by_group.ndim)) - own))
            np.add.at(squares, bits, sums.ravel())
    return np.sqrt(squares[:-1])


def _input_norms(module: nn.Module) -> Tensor:
    """L2 norm of the weights that read each input channel, shape (inputs,)."""
    weight = _weight(module)
    if isinstance(module, _ConvTransposeNd):  # its weight has inputs first
        return weight.flatten(1).norm(dim=1)
    groups = module.groups if isinstance(module, _ConvNd) else 1
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2).norm(dim=2).flatten()


def writers(space: SearchSpace, network: nn.Module) -> list[Layer]:
    """The layers that write to a segment with weights of their own.

    One that only hands channels on, as an imported shortcut without parameters does, says nothing of them. It counts
    where no other layer writes to the segment.
    """
    return _telling(_with_weights(space, network, space.output_bits), network, lambda layer: layer.outputs)


def readers(space: SearchSpace, network: nn.Module) -> list[Layer]:
    """The layers that read a segment with weights of their own; the same holds for them."""
    return _telling(_with_weights(space, network, space.input_bits), network, lambda layer: layer.inputs)


def _telling(layers: list[Layer], network: nn.Module, side: Callable[[Layer], str | None]) -> list[Layer]:
    """The layers without those that only hand channels on, where another one has the same segment on this side."""
    own = [layer for layer in layers if not _hands_on(network.get_submodule(layer.name))]
    return [layer for layer in layers if layer in own or side(layer) not in map(side, own)]


def _with_weights(space: SearchSpace, network: nn.Module, bits: Callable[[Layer], Bits]) -> list[Layer]:
    """The layers of which some bits decide, and that are modules with a weight; a depthwise one has a channel's own."""
    return [
        layer
        for layer in space.layers
        if layer.kind not in ("adapter", "depthwise")
        and (bits(layer) >= 0).any()
        and isinstance(layer_module(network, layer.name), _ConvNd | nn.Linear)
    ]


def _hands_on(module: nn.Module) -> bool:
    """Whether each output is one of the inputs, or nothing."""
    weight = _weight(module).flatten(1)
    is_selection = bool(((weight == 0) | (weight == 1)).all()) and int(weight.sum(dim=1).max()) <= 1
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and is_selection


def _l1(weight: Tensor, norm: nn.Module | None) -> Tensor:
    return weight.flatten(1).abs().sum(dim=1)


def _l2(weight: Tensor, norm: nn.Module | None) -> Tensor:
    return weight.flatten(1).norm(dim=1)


def _bn_scale(weight: Tensor, norm: nn.Module | None) -> Tensor | None:
    return None if norm is None or norm.weight is None else _weight(norm).abs()


def _geometric_median(weight: Tensor, norm: nn.Module | None) -> Tensor:
    filters = weight.flatten(1)
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)


WEIGHT_CRITERIA: dict[str, Callable[[Tensor, nn.Module | None], Tensor | None]] = {
    "l1": _l1,
    "l2": _l2,
    "bn_scale": _bn_scale,
    "geometric_median": _geometric_median,
}


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor), f"{type(module).__name__} has no weight"
    return weight.detach().double()


def outputs_first(module: nn.Module, values: Tensor) -> Tensor:
    """Values of the shape of a module's weight or bias, with outputs first."""
    if values.dim() == 1 or not isinstance(module, _ConvTransposeNd):
        return values
    return values.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1)


def _numpy(values: Tensor) -> Scores:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
