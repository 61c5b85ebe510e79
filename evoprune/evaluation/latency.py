"""Measured latency of a network: repeated until it can be believed, or until its time is up."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from evoprune.common.objectives import WIDEST_SPREAD
from evoprune.networks.device import Compute

LIMIT_S = 10.0
"""Seconds that a measurement may take where nobody says otherwise."""
_WARMUP = 5
_AGREEING = 5
_FEWEST_CHUNKS = 10
_CHUNK_S, _FEWEST_CALLS = 0.025, 3  # longer than most disturbances, so that some chunks have none


class Timing(NamedTuple):
    """Time of one call.

    Attributes:
        ms: of a call that nothing disturbs, in ms.
        p90_ms: nine of ten calls took no longer.
        spread: of the chunks that `ms` comes from, the slowest over the fastest, less 1, in percent.
    """

    ms: float
    p90_ms: float
    spread: float


@torch.no_grad()
def time_network(network: nn.Module, shape: tuple[int, ...], compute: Compute, limit_s: float) -> Timing:
    """Time of a forward pass of `network`, after warm-up, as it is: batch norms are not folded.

    Args:
        network: in eval mode, on the compute device.
        shape: of the batch, (images, channels, height, width).
        compute: device and precision that the time holds for.
        limit_s: as in `time_calls`.
    """
    images = torch.zeros(shape, device=compute.device).to(memory_format=torch.channels_last)

    def forward() -> None:
        with compute.autocast():
            network(images)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)

    return time_calls(forward, limit_s)


def time_calls(call: Callable[[], object], limit_s: float) -> Timing:
    """Time of a call, after warm-up, repeated until five chunks of calls agree within 3 %.

    Calls are timed in chunks of 25 ms, three calls at least. The fastest call of a chunk stands for it: whatever else
    the machine does only makes a call longer. Ten chunks at least are timed, and more until the five fastest of them
    lie within 3 %. Their median is the time.

    Args:
        call: what is timed.
        limit_s: seconds after which the five fastest chunks count as they are; the spread says how far they lie apart.
    """
    for _ in range(_WARMUP):
        call()
    chunks: list[list[float]] = []
    started = time.perf_counter()
    while True:
        chunks.append(_chunk(call))
        fastest = sorted(map(min, chunks))[:_AGREEING]
        spread = 100 * (fastest[-1] / max(fastest[0], 1e-9) - 1)
        agree = len(chunks) >= _FEWEST_CHUNKS and spread <= WIDEST_SPREAD
        if agree or (len(chunks) >= _AGREEING and time.perf_counter() - started > limit_s):
            every = [ms for chunk in chunks for ms in chunk]
            p90 = float(np.percentile(every, 90))
            return Timing(round(fastest[_AGREEING // 2], 4), round(p90, 4), round(spread, 2))


def _chunk(call: Callable[[], object]) -> list[float]:
    """Milliseconds of each call of a chunk."""
    times: list[float] = []
    while sum(times) < 1000 * _CHUNK_S or len(times) < _FEWEST_CALLS:
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return times
