"""Measured latency of a network, alone or against another's: repeated until it can be believed, or its time is up."""

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
_NOTCH = 1.57  # of a median of n values, in quartile distances over the root of n
_CHUNK_S, _FEWEST_CALLS = 0.025, 3  # longer than most disturbances, so that some chunks have none


class Timing(NamedTuple):
    """Time of one call.

    Attributes:
        ms: of a call that nothing disturbs, in ms.
        median_ms: half of the calls took no longer.
        p90_ms: nine of ten calls took no longer.
        spread: of the chunks that `ms` comes from, the slowest over the fastest, less 1, in percent.
        waited: percent of the time in which this thread was not at work: on a CPU, as others were.
    """

    ms: float
    median_ms: float
    p90_ms: float
    spread: float
    waited: float


class Comparison(NamedTuple):
    """Time of one call over that of another.

    Attributes:
        ratio: of the two times.
        spread: width of the range in which the ratio lies with 95 % confidence, in percent of it.
        reference_ms: the other call's time meanwhile, in ms, which is as good as the machine is steady.
    """

    ratio: float
    spread: float
    reference_ms: float


def compare_networks(
    network: nn.Module, reference: nn.Module, shape: tuple[int, ...], compute: Compute, limit_s: float
) -> Comparison:
    """Time of a forward pass of `network` over that of `reference`, each as it is: batch norms are not folded.

    Args:
        network: in eval mode, on the compute device.
        reference: likewise.
        shape: of the batch, (images, channels, height, width).
        compute: device and precision that the times hold for.
        limit_s: as in `compare_calls`.
    """
    return compare_calls(forward_pass(network, shape, compute), forward_pass(reference, shape, compute), limit_s)


def forward_pass(network: nn.Module, shape: tuple[int, ...], compute: Compute) -> Callable[[], None]:
    """A call that passes a batch through `network` and waits for the result; arguments as in `compare_networks`."""
    images = torch.zeros(shape, device=compute.device).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        with compute.autocast():
            network(images)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)

    return forward


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
    started, worked = time.perf_counter(), time.thread_time()
    while True:
        chunks.append(_chunk(call))
        fastest = sorted(map(min, chunks))[:_AGREEING]
        spread = 100 * (fastest[-1] / max(fastest[0], 1e-9) - 1)
        agree = len(chunks) >= _FEWEST_CHUNKS and spread <= WIDEST_SPREAD
        if agree or (len(chunks) >= _AGREEING and time.perf_counter() - started > limit_s):
            every = [ms for chunk in chunks for ms in chunk]
            median, p90 = (round(float(value), 4) for value in np.percentile(every, (50, 90)))
            waited = 100 * (1 - (time.thread_time() - worked) / max(1e-9, time.perf_counter() - started))
            ms = round(fastest[_AGREEING // 2], 4)
            return Timing(ms, median, p90, round(spread, 2), round(max(0, waited), 1))


def compare_calls(call: Callable[[], object], reference: Callable[[], object], limit_s: float) -> Comparison:
    """Time of a call over that of another, which takes turns with it, until it is known within 3 %.

    A machine is faster at one minute and slower at the next, by more than two networks differ. Both calls feel that
    alike, and their ratio does not. Chunks are those of `time_calls`. Each chunk of the call and the chunk of the
    reference after it give a ratio, and the median of the ratios counts. Its range is the notch of a box plot
    (McGill, Tukey, Larsen: Variations of box plots, 1978). Ten pairs of chunks at least are timed.

    Args:
        call: what is timed.
        reference: what it is compared with.
        limit_s: seconds after which the ratio counts as it is; the spread says how well it is known.
    """
    for _ in range(_WARMUP):
        call()
        reference()
    pairs: list[tuple[float, float]] = []
    started = time.perf_counter()
    while True:
        pairs.append((min(_chunk(call)), min(_chunk(reference))))
        times = np.maximum(pairs, 1e-9)
        lower, ratio, upper = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
        spread = float(200 * _NOTCH * (upper - lower) / len(pairs) ** 0.5 / ratio)
        known = len(pairs) >= _FEWEST_CHUNKS and spread <= WIDEST_SPREAD
        if known or (len(pairs) >= _AGREEING and time.perf_counter() - started > limit_s):
            middle = float(np.sort(times[:, 1])[_AGREEING // 2])
            return Comparison(float(ratio), round(spread, 2), round(middle, 4))


def _chunk(call: Callable[[], object]) -> list[float]:
    """Milliseconds of each call of a chunk."""
    times: list[float] = []
    while sum(times) < 1000 * _CHUNK_S or len(times) < _FEWEST_CALLS:
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return times
