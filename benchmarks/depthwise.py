"""Depthwise convolutions on this machine, forward and backward, by precision and layout; and their blocks.

Layers are those of MobileNetV2 on images of 64 pixels, 3 x 3. A block is what MobileNetV2 makes of one: convolution,
batch norm, ReLU6, a 1 x 1 convolution, batch norm. `grouped` is the layer as a convolution of as many groups as it has
channels, in one call; `one by one` is a convolution for each channel.

Usage: python benchmarks/depthwise.py [--batches 1 40] [--rounds 9] [--threads 1] [--out FOLDER]
Writes depthwise.csv and depthwise.md: milliseconds, medians over rounds in which all ways take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from benchmark_tools import describe_machine, markdown
from torch import Tensor, nn

from evoprune.networks.device import Compute
from evoprune.networks.fusion import fused

LAYERS = ((96, 32, 2), (144, 16, 1), (144, 16, 2), (192, 8, 1), (384, 4, 1), (576, 4, 2), (960, 2, 1))
"""Channels, side of the map, stride."""
CPU = torch.device("cpu")
_SHORT = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.contiguous_format: "plain",
    torch.channels_last: "channels last",
}
Step = Callable[[], object]


class Block(nn.Module):
    """A depthwise layer, and the 1 x 1 convolution that mixes its channels."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.norm, self.mix_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels // 6)
        self.mix = nn.Conv2d(channels, channels // 6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of shape (N, channels, H, W)."""
        return self.mix_norm(self.mix(F.relu6(self.norm(self.depthwise(x)))))


def layer_ways(shape: tuple[int, int, int], batch: int) -> Iterator[tuple[str, Step]]:
    """The convolution alone: what each way does, forward and backward."""
    channels, side, stride = shape
    for dtype, layout in product((torch.float32, torch.bfloat16), (torch.contiguous_format, torch.channels_last)):
        x = torch.randn(batch, channels, side, side).to(dtype).contiguous(memory_format=layout).requires_grad_()
        weight = torch.randn(channels, 1, 3, 3).to(dtype).requires_grad_()
        name = f"{_SHORT[dtype]}, {_SHORT[layout]}"
        yield f"grouped, {name}", _both_ways(lambda x, w=weight: F.conv2d(x, w, None, stride, 1, 1, channels), x)
    x = torch.randn(batch, channels, side, side, requires_grad=True)
    weights = list(torch.randn(channels, 1, 1, 3, 3).requires_grad_())
    yield (
        "one by one, fp32, plain",
        _both_ways(
            lambda x: torch.cat([F.conv2d(x[:, i : i + 1], w, None, stride, 1) for i, w in enumerate(weights)], 1), x
        ),
    )


def block_ways(shape: tuple[int, int, int], batch: int) -> Iterator[tuple[str, Step]]:
    """A block: as PyTorch trains it in either precision, and as evoprune does."""
    channels, side, stride = shape
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
    for name, bf16, is_fused in (("fp32", False, False), ("bf16", True, False), ("bf16, fused", True, True)):
        network, stack = Block(channels, stride).to(memory_format=torch.channels_last).train(), ExitStack()
        compute = Compute(CPU, bf16=bf16)
        if is_fused:
            stack.enter_context(fused(network, compute))

        def step(network: nn.Module = network, compute: Compute = compute, stack: ExitStack = stack) -> None:
            with compute.autocast():
                network(x).float().sum().backward()

        yield f"block, {name}", step


def _both_ways(call: Callable[[Tensor], Tensor], x: Tensor) -> Step:
    def step() -> None:
        out = call(x)
        out.backward(torch.ones_like(out))

    return step


def measure(batch: int, rounds: int) -> Iterator[dict[str, object]]:
    """A row for each layer: milliseconds of every way."""
    for shape in LAYERS:
        ways = dict([*layer_ways(shape, batch), *block_ways(shape, batch)])
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, step in ways.items():
                started = time.perf_counter()
                step()
                if number:  # the first round compiles
                    times[name].append(1000 * (time.perf_counter() - started))
        layer = "{} channels, {} pixels, stride {}".format(*shape)
        yield {"layer": layer, "images": batch, **{name: round(statistics.median(t), 2) for name, t in times.items()}}


def main() -> None:
    """Time everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 40])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    table = pd.DataFrame(row for batch in arguments.batches for row in measure(batch, arguments.rounds))
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "depthwise.csv", index=False)
    (arguments.out / "depthwise.md").write_text(f"{describe_machine()}\n\n{markdown(table)}\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
