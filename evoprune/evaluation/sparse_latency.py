"""Dense against sparse: the time of a linear layer both ways."""

import time

import torch
from torch import Tensor, nn

from evoprune.networks.sparse_linear import CsrLinear

_WARMUP, _REPEATS = 5, 50


@torch.no_grad()
def linear_times_ms(linear: nn.Linear, batch_size: int) -> tuple[float, float]:
    """Time in ms of the layer as it is, and as compressed sparse rows, on the device of its weights.

    The two take turns, and the shortest time of each counts: whatever else the machine does only makes it longer.

    Args:
        linear: is left as it is.
        batch_size: rows of its input.
    """
    device = linear.weight.device
    rows = torch.randn(batch_size, linear.in_features, device=device, dtype=linear.weight.dtype)
    ways = (linear, CsrLinear.of(linear))
    times: list[list[float]] = [[], []]
    for _ in range(_WARMUP + _REPEATS):
        for way, taken in zip(ways, times, strict=True):
            taken.append(_seconds(way, rows))
    dense, sparse = (1000 * min(taken[_WARMUP:]) for taken in times)
    return dense, sparse


def _seconds(way: nn.Module, rows: Tensor) -> float:
    started = time.perf_counter()
    way(rows)
    if rows.device.type == "cuda":
        torch.cuda.synchronize(rows.device)
    return time.perf_counter() - started
