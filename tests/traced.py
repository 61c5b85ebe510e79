"""What the tests of tracing share: a network with statistics that are not trivial, traced and held against truth."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evoprune.space.repair import repair
from evoprune.space.table import ChannelTable, Code
from evoprune.space.traced_costs import TracedCosts
from evoprune.tracing.surgery import masked, narrow
from evoprune.tracing.trace import trace_channels

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d)


def images(channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def ready(network: nn.Module) -> nn.Module:
    """The network in eval mode; all that starts at 0 or 1 is random."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, NORMS):
                for value, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                    if value is not None:
                        value.uniform_(low, low + 1)
    return network.eval()


def trace_exactly(network: nn.Module, example: Tensor | None = None) -> ChannelTable:
    """Trace a network; for random codes, and the smallest, narrow equals masked and costs equal a count."""
    example = images() if example is None else example
    table = trace_channels(ready(network), example)
    rng = np.random.default_rng(0)
    codes = [rng.random(table.length) < share for share in (0.2, 0.5, 0.5, 0.8)]
    for code in [np.zeros(table.length), *codes]:
        assert_exact(table, network, repair(table, code), example)
    return table


def assert_exact(table: ChannelTable, network: nn.Module, code: Code, example: Tensor) -> None:
    slim = narrow(table, network, code)
    with torch.no_grad():
        logits, truth = slim(example), masked(table, network, code)(example)
    torch.testing.assert_close(logits, truth, rtol=1e-5, atol=1e-5)
    costs = TracedCosts(table).of(code)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        slim(example)
    assert costs["flops"].tolist() == [counter.get_total_flops() // 2 // len(example)]
    assert costs["params"].tolist() == [sum(parameter.numel() for parameter in slim.parameters())]


def widths(table: ChannelTable) -> dict[str, int]:
    return {segment.name: segment.width for segment in table.segments}


def pinned(table: ChannelTable) -> dict[str, tuple[str, ...]]:
    """Reason -> layers, without the outputs of the network."""
    return {pin.reason: pin.layers for pin in table.pins if pin.reason != "output of the network"}


class Forward(nn.Module):
    """A network of some layers, and a function that runs them."""

    def __init__(self, forward, **layers: nn.Module):
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)
