"""The parity gate: what a slim network computes is held against the network with its pruned channels at zero."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evoprune.common.errors import UserError
from evoprune.space.groups import Segment
from evoprune.space.table import ChannelTable, Code
from evoprune.tracing.surgery import masked, narrow

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest logit."""
_RANDOM_CODES = 3

Cut = Callable[[Sequence[str]], Code]
"""Names of segments -> a code that prunes them."""


def failing_segments(table: ChannelTable, network: nn.Module, images: Tensor) -> list[str]:
    """Segments of which a slim network does not compute what the masked one does.

    Each segment is pruned to its half alone, and all are pruned at random. Then all wider ones get the width of one
    segment, for each width that there is, and one channel: a forward may do something else where widths are equal.
    Batch norms have statistics of no data, so that a channel which is lost anywhere is seen.

    Args:
        table: of the network.
        network: is left as it is.
        images: a batch that it takes.

    Raises:
        UserError: the network itself does not take the images.
    """
    gate = _Gate(table, _with_statistics(network), images)
    gate.check_whole()
    failing = [segment.name for segment in table.segments if not gate.passes(gate.half([segment.name]))]
    for cut, names in _probes(gate, table.segments):
        chosen = [name for name in names if name not in failing]
        while chosen and not gate.passes(cut(chosen)):
            found = gate.smallest(chosen, cut)
            failing += found
            chosen = [name for name in chosen if name not in found]
    return failing


def _probes(gate: "_Gate", segments: Sequence[Segment]) -> Iterator[tuple[Cut, list[str]]]:
    """Segments that are pruned together, and how."""
    rng = np.random.default_rng(0)
    for _ in range(_RANDOM_CODES):
        yield gate.half, [segment.name for segment in segments if rng.random() < 1 / 2]
    for width in sorted({1, *(segment.width for segment in segments)}, reverse=True):
        yield partial(gate.first, width), [segment.name for segment in segments if segment.width > width]


class _Gate:
    def __init__(self, table: ChannelTable, network: nn.Module, images: Tensor) -> None:
        self._table, self._network, self._images = table, network, images

    def half(self, names: Sequence[str]) -> Code:
        """A code without every second channel of the segments of these names."""
        return self._table.half_code(segment for segment in self._table.segments if segment.name in names)

    def first(self, width: int, names: Sequence[str]) -> Code:
        """A code with only the first channels of the segments of these names, so many of each."""
        code = self._table.full_code()
        for segment in self._table.segments:
            if segment.name in names:
                code[segment.slice][width:] = 0
        return code

    def smallest(self, names: Sequence[str], cut: Cut) -> list[str]:
        """Some of these segments that fail together: none of them can be spared."""
        left = list(names)
        for name in names:
            others = [other for other in left if other != name]
            if others and not self.passes(cut(others)):
                left = others
        return left

    @torch.no_grad()
    def check_whole(self) -> None:
        """Raise UserError where the network itself fails, which nothing narrower could then mend."""
        try:
            self._network(self._images)
        except Exception as error:  # the user's own forward may raise anything
            name = type(self._network).__name__
            raise UserError(
                f"the forward of {name} fails on images of the data, which lie channels last in memory: "
                f"{type(error).__name__}: {error}"
            ) from error

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
