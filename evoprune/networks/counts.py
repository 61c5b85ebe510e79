"""How large a network is, counted on the network itself: parameters, multiply-adds, and those that are not zero."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from evoprune.networks.sparse_linear import CsrLinear

_aten = torch.ops.aten
_PRODUCTS = {_aten.convolution: 1, _aten._convolution: 1, _aten.linear: 1, _aten.mm: 1, _aten.addmm: 2}
"""Operators of layers, and which argument is the weight. Attention multiplies activations, in others (`bmm`)."""


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
    """Count operators in a forward pass in eval mode: weights need not be those of layers.

    Args:
        network: is left in the mode that it is in.
        example: one image, shape (1, channels, height, width), on the network's device.
    """
    sums, mode = _Products(), network.training
    network.eval()
    try:
        with _slow_attention(), sums:
            network(example)
    finally:
        network.train(mode)
    layers = [module for module in network.modules() if isinstance(module, CsrLinear)]
    stored = [tensor for layer in layers for tensor in _stored(layer)]
    tensors = [*network.parameters(), *stored]
    nonzero = sum(int(tensor.count_nonzero()) for tensor in tensors)
    return Counts(sum(tensor.numel() for tensor in tensors), nonzero, sums.flops, sums.nonzero_flops)


def _stored(layer: CsrLinear) -> list[Tensor]:
    return [layer.values] if layer.bias is None else [layer.values, layer.bias]


class _Products(TorchDispatchMode):
    """Sums up the multiply-adds of the operators of layers that run while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.nonzero_flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator in _PRODUCTS and args[0].layout is torch.sparse_csr:  # as `CsrLinear` multiplies
            self._add(args[0].values(), output.shape[1])
        elif operator in _PRODUCTS:
            weight = args[_PRODUCTS[operator]]
            flops = flop_registry[operator](*args, **(kwargs or {}), out_val=output) // 2
            self._add(weight, flops // weight.numel())
        return output

    def _add(self, weight: Tensor, uses: int) -> None:
        """Count a product. Each value of a weight is used equally often."""
        self.flops += weight.numel() * uses
        self.nonzero_flops += int(weight.count_nonzero()) * uses


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Have `nn.MultiheadAttention` run its layers: its fast path is one operator, which torch does not count."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)
