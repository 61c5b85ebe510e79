"""A code and the base network in, the slim network with inherited weights out. Knows layers, no architecture."""

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor, nn

from evoprune.networks.build import build_network
from evoprune.pruning.compensation import compensate
from evoprune.pruning.moments import Moments
from evoprune.space.groups import Layer
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.tracing.surgery import narrow

_BY_CHANNEL = ("weight", "bias", "running_mean", "running_var")


@torch.no_grad()
def slim_network(
    space: SearchSpace, network: nn.Module, code: npt.ArrayLike, moments: Moments | None = None
) -> nn.Module:
    """Build the slim network of `code` with the weights of `network`.

    In eval mode it computes what `network` computes with the pruned channels multiplied by zero. With `moments`, its
    layers make up for what they no longer read, and its outputs are nearer to those of `network`.

    Args:
        space: the search space of `network`.
        network: the base network, as `build_network(space)` builds it, or the one that was traced.
        code: 0/1, shape (space.length,); repaired first.
        moments: what the layers of `network` read, as `measure_moments` measures it.

    Returns:
        A new module on the device and in the mode of `network`, which is left as it is.
    """
    changes = inherited_changes(space, network, code, moments)
    if isinstance(space, TracedSpace):
        return narrow(space.table, network, code, changes)
    kept: dict[str | None, Tensor] = {name: torch.from_numpy(indices) for name, indices in space.kept(code).items()}
    state = {**network.state_dict(), **changes}
    with torch.device("meta"):  # every weight is copied below: nothing to initialise
        slim = build_network(space, code)
    slim = slim.to_empty(device=next(network.parameters()).device)
    for layer in space.layers:
        if not isinstance(slim.get_submodule(layer.name), nn.Identity):
            _copy_layer(layer, state, slim, kept)
    return slim.train(network.training)


def inherited_changes(
    space: SearchSpace, network: nn.Module, code: npt.ArrayLike, moments: Moments | None = None
) -> dict[str, Tensor]:
    """Entries of a state, full width, that the slim network of `code` inherits instead of those of `network`.

    They are what compensation solves, and the weights of adapters, of which the base network has none: an adapter
    hands on what it reads.
    """
    device = next(network.parameters()).device
    adapters = {}
    for layer in space.layers:
        if layer.kind == "adapter":
            outputs, inputs = len(space.output_bits(layer)), len(space.input_bits(layer))
            adapters[f"{layer.name}.weight"] = torch.eye(outputs, inputs, device=device)[:, :, None, None]
    if moments is None:
        return adapters
    return {**adapters, **compensate(space, {**network.state_dict(), **adapters}, code, moments)}


def _copy_layer(layer: Layer, state: Mapping[str, Tensor], slim: nn.Module, kept: Mapping[str | None, Tensor]) -> None:
    """Give a layer of `slim`, and its norm, the kept part of what `state` has for them."""
    weight = state[f"{layer.name}.weight"]
    outputs = kept.get(layer.outputs, torch.arange(weight.shape[0])).to(weight.device)
    inputs = kept.get(layer.inputs, torch.arange(weight.shape[1])).to(weight.device)
    for name in filter(None, (layer.name, layer.norm)):
        for key, value in slim.get_submodule(name).state_dict().items():
            full = state[f"{name}.{key}"]
            part = full[outputs] if key in _BY_CHANNEL else full
            value.copy_(part[:, inputs] if part.dim() > 1 else part)
