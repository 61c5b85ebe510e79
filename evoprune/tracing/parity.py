"""The parity gate: what a slim network computes is held against the network with its pruned channels at zero."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evoprune.space.table import ChannelTable, Code
from evoprune.tracing.surgery import masked, narrow

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest logit."""
_RANDOM_CODES = 3


def failing_segments(table: ChannelTable, network: nn.Module, images: Tensor) -> list[str]:
    """Segments of which a slim network does not compute what the masked one does.

    Each segment is pruned to its half alone, and all are pruned at random. Batch norms have statistics of no data, so
    that a channel which is lost anywhere is seen.

    Args:
        table: of the network.
        network: is left as it is.
        images: a batch that it takes.
    """
    gate = _Gate(table, _with_statistics(network), images)
    failing = [segment.name for segment in table.segments if not gate.passes(gate.half([segment.name]))]
    rng = np.random.default_rng(0)
    names = [segment.name for segment in table.segments if segment.name not in failing]
    for _ in range(_RANDOM_CODES):
        chosen = [name for name in names if rng.random() < 1 / 2]
        while chosen and not gate.passes(gate.half(chosen)):
            found = gate.smallest(chosen)
            failing += found
            chosen = [name for name in chosen if name not in found]
    return failing


class _Gate:
    def __init__(self, table: ChannelTable, network: nn.Module, images: Tensor) -> None:
        self._table, self._network, self._images = table, network, images

    def half(self, names: Sequence[str]) -> Code:
        """A code without every second channel of the segments of these names."""
        return self._table.half_code(segment for segment in self._table.segments if segment.name in names)

    def smallest(self, names: Sequence[str]) -> list[str]:
        """Some of these segments that fail together: none of them can be spared."""
        left = list(names)
        for name in names:
            others = [other for other in left if other != name]
            if others and not self.passes(self.half(others)):
                left = others
        return left

    @torch.no_grad()
    def passes(self, code: Code) -> bool:
        """Whether the slim network of a code computes what the masked one does."""
        try:
            logits = narrow(self._table, self._network, code)(self._images)
        except Exception:  # the user's own forward may raise anything where its width is fixed
            return False
        truth = masked(self._table, self._network, code)(self._images)
        return logits.shape == truth.shape and bool((logits - truth).abs().max() <= TOLERANCE * truth.abs().max())


@torch.no_grad()
def _with_statistics(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose batch norms are not trivial."""
    rng = torch.Generator().manual_seed(0)
    copied = copy.deepcopy(network).eval()
    for module in copied.modules():
        if isinstance(module, _BatchNorm):
            for value, low in ((module.running_mean, -0.2), (module.running_var, 0.8), (module.bias, -0.2)):
                if value is not None:
                    value.copy_(low + 0.4 * torch.rand(value.shape, generator=rng))
    return copied
