"""A network -> its channel table."""

import copy

from torch import Tensor, nn

from evoprune.space.table import ChannelTable
from evoprune.tracing.graph import read_graph
from evoprune.tracing.widths import pin_fixed_widths


def trace_channels(network: nn.Module, example: Tensor) -> ChannelTable:
    """Follow the channels of a convolutional network through its graph in eval mode.

    What an operator touches that is not known is pinned: it stays, and `pins` says why. The same holds for what the
    network's own code needs at a fixed width.

    Args:
        network: any module that takes one tensor. It is left as it is.
        example: an input, shape (batch, channels, height, width). Costs are those of this size.

    Returns:
        The channel table.

    Raises:
        UserError: `torch.export` cannot read the network.
    """
    copied = copy.deepcopy(network).eval()
    return pin_fixed_widths(read_graph(copied, example), copied, example)
