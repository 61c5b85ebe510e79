"""How large a network is, counted on the network itself: parameters, multiply-adds, and those that are not zero."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from evoprune.networks.sparse_linear import CsrLinear

_PRODUCTS = ("aten.convolution", "aten._convolution", "aten.linear", "aten.mm", "aten.addmm")
"""Operators of layers with weights. Attention multiplies activations by each other, in others (`bmm`)."""


@dataclass(frozen=True)
class Counts:
    """What a network has.

    Attributes:
        params: its parameters; of a CSR layer those that it stores.
        nonzero_params: those that are not zero.
        flops: multiply-adds of convolutions and linear layers for one image.
        nonzero_flops: those by a weight that is not zero.
    """

    params: int
    nonzero_params: int
    flops: int
    nonzero_flops: int


@torch.no_grad()
def count(network: nn.Module, example: Tensor) -> Counts:
    """Count, by a forward pass in eval mode.

    Args:
        network: is left in the mode that it is in.
        example: one image, shape (1, channels, height, width), on the network's device.
    """
    sums = {"all": 0, "nonzero": 0}

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for name, value in zip(sums, _multiply_adds(module, output), strict=True):
            sums[name] += value

    layers = [module for module in network.modules() if isinstance(module, _ConvNd | nn.Linear | CsrLinear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    mode = network.training
    network.eval()
    try:
        network(example)
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    stored = [tensor for layer in layers if isinstance(layer, CsrLinear) for tensor in _stored(layer)]
    tensors = [*network.parameters(), *stored]
    nonzero = sum(int(tensor.count_nonzero()) for tensor in tensors)
    return Counts(sum(tensor.numel() for tensor in tensors), nonzero, sums["all"], sums["nonzero"])


@torch.no_grad()
def count_costs(network: nn.Module, image: Tensor) -> dict[str, int]:
    """`flops` and `params` as a search space states them, counted by operators: weights need not be those of layers.

    Args:
        network: without CSR layers, whose operator torch does not count; is left in eval mode.
        image: one, shape (1, channels, height, width), on the network's device.
    """
    with FlopCounterMode(display=False) as counter:
        network.eval()(image)
    found = counter.get_flop_counts()["Global"]
    flops = sum(number for operator, number in found.items() if str(operator) in _PRODUCTS)
    return {"flops": flops // 2, "params": sum(parameter.numel() for parameter in network.parameters())}


def _stored(layer: CsrLinear) -> list[Tensor]:
    return [layer.values] if layer.bias is None else [layer.values, layer.bias]


def _multiply_adds(module: nn.Module, output: Tensor) -> tuple[int, int]:
    """Of one image: all, and those by weights that are not zero. Each weight of a layer is used equally often."""
    weight = module.values if isinstance(module, CsrLinear) else module.weight
    assert isinstance(weight, Tensor)
    outputs = module.out_channels if isinstance(module, _ConvNd) else module.out_features
    assert isinstance(outputs, int)
    uses = output.numel() // len(output) // outputs
    return weight.numel() * uses, int(weight.count_nonzero()) * uses
