"""The layers of a network whose weights can go one by one, and those that write its outputs."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

KINDS = ("conv", "depthwise", "linear")


@dataclass(frozen=True)
class WeightLayer:
    """A convolution or linear layer.

    Attributes:
        name: of the module.
        kind: one of `KINDS`; a depthwise convolution has a group for every input channel.
        parameter: name of its weight in the network's state.
        size: how many weights it has, bias not counted.
    """

    name: str
    kind: str
    parameter: str
    size: int


def weight_layers(network: nn.Module) -> tuple[WeightLayer, ...]:
    """All convolutions and linear layers, in the order of the modules; one that shares its weight with an earlier one
    is left out, and so is one whose weight is computed from other parameters."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = []
    for name, module in network.named_modules():
        if isinstance(module, _ConvNd | nn.Linear) and (parameter := names.pop(id(module.weight), None)):
            found.append(WeightLayer(name, _kind(module), parameter, module.weight.numel()))
    return tuple(found)


def _kind(module: nn.Module) -> str:
    if not isinstance(module, _ConvNd):
        return "linear"
    return "depthwise" if 1 < module.groups == module.in_channels else "conv"


def output_layers(network: nn.Module, example: Tensor) -> frozenset[str]:
    """Names of the layers that write the network's outputs, such as the classifier, whatever they are called.

    The graph of a forward pass is followed back from the outputs. Each way ends at the first layer with weights.

    Args:
        network: takes one tensor; returns a tensor, or a tuple, list or dict of tensors. It is left as it is.
        example: an input, shape (batch, channels, height, width).
    """
    copied = copy.deepcopy(network).eval().requires_grad_(True)
    layers = {layer.parameter: layer.name for layer in weight_layers(copied)}
    names = {id(parameter): layers.get(name) for name, parameter in copied.named_parameters()}
    with torch.enable_grad():
        outputs = copied(example)
    found, seen = set(), set()
    open_nodes = [tensor.grad_fn for tensor in _tensors(outputs)]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        before = [function for function, _ in node.next_functions if function is not None]
        written = {name for function in before if (name := names.get(id(_parameter(function)))) is not None}
        found |= written
        open_nodes += [] if written else before
    return frozenset(found)


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return (
        [tensor for value in values for tensor in _tensors(value)] if isinstance(outputs, dict | list | tuple) else []
    )


def _parameter(function: torch.autograd.graph.Node) -> Tensor | None:
    """The parameter that a node hands to the next one, transposed or reshaped or as it is; None for other nodes."""
    while not hasattr(function, "variable"):
        if len(function.next_functions) != 1 or function.next_functions[0][0] is None:
            return None
        function = function.next_functions[0][0]
    return function.variable
