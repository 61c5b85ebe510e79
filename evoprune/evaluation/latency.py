"""Measured latency of a network."""

import statistics
import time

import torch
from torch import nn

from evoprune.networks.device import CPU, Compute

_WARMUP = 5
_REPEATS = 30


@torch.no_grad()
def measure_latency(network: nn.Module, shape: tuple[int, ...], compute: Compute = CPU) -> float:
    """Median forward time of `network` in ms for one batch, after warm-up.

    Args:
        network: in eval mode, on the compute device.
        shape: of the batch, (images, channels, height, width).
        compute: device and precision that the time holds for.
    """
    images = torch.zeros(shape, device=compute.device).to(memory_format=torch.channels_last)
    times = []
    for _ in range(_WARMUP + _REPEATS):
        started = time.perf_counter()
        with compute.autocast():
            network(images)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times[_WARMUP:]), 4)
