"""Measured latency of a network."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
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
    return time_network(network, shape, compute).median_ms


class Timing(NamedTuple):
    """Times of one call: half of the calls, and nine of ten, took no longer."""

    median_ms: float
    p90_ms: float


@torch.no_grad()
def time_network(network: nn.Module, shape: tuple[int, ...], compute: Compute = CPU) -> Timing:
    """As `measure_latency`, with the 90th percentile."""
    images = torch.zeros(shape, device=compute.device).to(memory_format=torch.channels_last)

    def forward() -> None:
        with compute.autocast():
            network(images)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)

    return time_calls(forward)


def time_calls(call: Callable[[], object]) -> Timing:
    """Times of repeated calls, after warm-up."""
    times = []
    for _ in range(_WARMUP + _REPEATS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    measured = times[_WARMUP:]
    return Timing(round(statistics.median(measured), 4), round(float(np.percentile(measured, 90)), 4))
