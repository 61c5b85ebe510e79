"""A code and the base network in, the slim network with inherited weights out. Knows layers, no architecture."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evoprune.networks.build import build_network
from evoprune.space.groups import Layer
from evoprune.space.space import SearchSpace


@torch.no_grad()
def slim_network(space: SearchSpace, network: nn.Module, code: npt.ArrayLike) -> nn.Module:
    """Build the slim network of `code` with the weights of `network`.

    In eval mode it computes what `network` computes with the pruned channels multiplied by zero.

    Args:
        space: the search space of `network`.
        network: the base network, as `build_network(space)` builds it.
        code: 0/1, shape (space.length,); repaired first.

    Returns:
        A new module on the device and in the mode of `network`, which is left as it is.
    """
    kept = {name: torch.from_numpy(indices) for name, indices in space.kept(code).items()}
    device = next(network.parameters()).device
    with torch.device("meta"):  # every weight is copied below: nothing to initialise
        slim = build_network(space, code)
    slim = slim.to_empty(device=device)
    for layer in space.layers:
        target = slim.get_submodule(layer.name)
        if isinstance(target, nn.Identity):
            continue
        if layer.kind == "adapter":
            _set_parameter(target, "weight", _selection(kept[layer.outputs], kept[layer.inputs]))
        else:
            _copy_layer(layer, network, slim, kept)
    return slim.train(network.training)


def _copy_layer(layer: Layer, network: nn.Module, slim: nn.Module, kept: dict[str, Tensor]) -> None:
    source, target = network.get_submodule(layer.name), slim.get_submodule(layer.name)
    weight = _parameter(source, "weight")
    outputs = kept.get(layer.outputs, torch.arange(weight.shape[0])).to(weight.device)
    inputs = kept.get(layer.inputs, torch.arange(weight.shape[1])).to(weight.device)
    _set_parameter(target, "weight", weight[outputs][:, inputs])
    if getattr(source, "bias", None) is not None:
        _set_parameter(target, "bias", _parameter(source, "bias")[outputs])
    if layer.norm is not None:
        norm = network.get_submodule(layer.norm).state_dict()
        picked = {name: value[outputs] if value.dim() else value for name, value in norm.items()}
        slim.get_submodule(layer.norm).load_state_dict(picked)


def _selection(outputs: Tensor, inputs: Tensor) -> Tensor:
    """1x1 kernel, shape (outputs, inputs, 1, 1): 1 where both are the same channel of the base network."""
    same = np.equal.outer(outputs.numpy(), inputs.numpy())
    return torch.from_numpy(same.astype(np.float32))[:, :, None, None]


def _parameter(module: nn.Module, name: str) -> Tensor:
    value = getattr(module, name)
    assert isinstance(value, Tensor), f"{type(module).__name__} has no {name}"
    return value


def _set_parameter(module: nn.Module, name: str, value: Tensor) -> None:
    _parameter(module, name).copy_(value)
