"""Latency is the median time of a forward pass, after warm-up."""

import time

import pytest
import torch
from torch import Tensor, nn

from evoprune.evaluation.latency import measure_latency
from evoprune.networks.device import CPU, Compute


class Slow(nn.Module):
    """Sleeps for given milliseconds, one number for each pass, and notes what it is given."""

    def __init__(self, milliseconds: list[float]):
        super().__init__()
        self.milliseconds, self.seen = milliseconds, []

    def forward(self, images: Tensor) -> Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        self.seen.append((tuple(images.shape), images.is_contiguous(memory_format=torch.channels_last), autocast))
        assert not torch.is_grad_enabled()
        time.sleep(self.milliseconds[min(len(self.seen), len(self.milliseconds)) - 1] / 1000)
        return images


def test_the_first_passes_and_a_few_slow_ones_do_not_count():
    slow_start, outliers = [60.0] * 5, [30.0] * 10
    measured = measure_latency(Slow([*slow_start, *outliers, 4.0]), (2, 3, 8, 8))
    assert 4.0 <= measured < 25.0


@pytest.mark.parametrize("bf16", [False, True])
def test_the_time_is_that_of_the_batch_and_the_precision_asked_for(bf16):
    network = Slow([0.0])
    measure_latency(network, (7, 3, 6, 5), Compute(CPU.device, bf16))
    assert set(network.seen) == {((7, 3, 6, 5), True, bf16)}
