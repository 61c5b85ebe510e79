"""Latency is the time of an undisturbed forward pass, repeated until chunks of passes agree."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from evoprune.evaluation import latency
from evoprune.evaluation.latency import compare_calls, compare_networks, forward_pass, time_calls
from evoprune.networks.device import CPU, Compute


class Clock:
    """Time that passes only in calls: each takes the next of some milliseconds, the last ones again and again."""

    def __init__(self, milliseconds: list[float], share: float = 1.0):
        """`share` of the time is this thread's."""
        self.seconds, self.num_calls, self._steps, self._share = 0.0, 0, itertools.cycle(milliseconds), share

    def perf_counter(self) -> float:
        return self.seconds

    def thread_time(self) -> float:
        return self._share * self.seconds

    def call(self) -> None:
        self.num_calls += 1
        self.seconds += next(self._steps) / 1000


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch):
    def measure(milliseconds: list[float], limit_s: float = 10.0, share: float = 1.0):
        clock = Clock(milliseconds, share)
        monkeypatch.setattr(latency, "time", clock)
        return time_calls(clock.call, limit_s), clock

    return measure


def test_steady_calls_end_with_the_tenth_chunk(timed):
    """5 calls of warm-up, and 10 chunks of 7 calls of 4 ms."""
    timing, clock = timed([4.0])
    assert (timing.ms, timing.median_ms, timing.p90_ms) == (4.0, 4.0, 4.0) and timing.spread < 0.01
    assert clock.num_calls == 5 + 10 * 7


def test_it_says_how_much_of_the_time_was_others(timed):
    assert timed([4.0])[0].waited == 0.0
    assert timed([4.0], share=0.75)[0].waited == 25.0


def test_disturbed_calls_do_not_count_but_in_the_ninetieth_percentile(timed):
    """Every third call takes 40 ms, so that all chunks are disturbed; each has a call that is not."""
    timing, _ = timed([2.0, 40.0, 2.0])
    assert (timing.ms, timing.median_ms, timing.p90_ms) == (2.0, 2.0, 40.0) and timing.spread < 0.01


def test_repeats_go_on_until_five_chunks_agree(timed):
    """Chunks of three calls each: eleven that differ by 10 % and more, then a steady one."""
    slow = [ms for chunk in range(11) for ms in [30.0 * 1.1 ** (11 - chunk)] * 3]
    warmup = [99.0] * 5
    timing, clock = timed([*warmup, *slow, *[30.0] * 3 * 100])
    assert timing.ms == 30.0 and timing.spread < 0.01
    assert clock.num_calls == 5 + 3 * (11 + 5)


def test_what_does_not_agree_in_its_time_says_how_far_it_is_apart(timed):
    """Chunks of 30, 33, 36.3, ... ms: the five fastest are the first, 1.1^4 - 1 = 46.41 % apart."""
    timing, clock = timed([30.0] * 5 + [30.0 * 1.1**chunk for chunk in range(20) for _ in range(3)], limit_s=1.0)
    assert timing.spread == pytest.approx(46.41, abs=0.01) and timing.ms == pytest.approx(30 * 1.21)
    assert 1.0 < clock.seconds < 1.6


def test_five_chunks_are_timed_whatever_the_limit(timed):
    timing, clock = timed([500.0], limit_s=0.0)
    assert timing.ms == 500.0 and clock.num_calls == 5 + 5 * 3


class Drifting(Clock):
    """A clock of a machine whose speed moves by a third and back in ten seconds; calls take 3 ms and 4 ms at best."""

    def __init__(self) -> None:
        super().__init__([0.0])

    def fast(self) -> None:
        self.take(3.0)

    def slow(self) -> None:
        self.take(4.0)

    def take(self, milliseconds: float) -> None:
        self.num_calls += 1
        self.seconds += milliseconds * (1 + abs(self.seconds % 10 - 5) / 15) / 1000


@pytest.fixture
def drifting(monkeypatch: pytest.MonkeyPatch):
    clock = Drifting()
    monkeypatch.setattr(latency, "time", clock)
    return clock


def test_a_machine_that_drifts_leaves_the_ratio_of_two_calls(drifting):
    found = compare_calls(drifting.fast, drifting.slow, 10.0)
    assert found.ratio == pytest.approx(0.75, rel=0.03) and found.spread <= 3.0
    assert 4.0 <= found.reference_ms <= 4.0 * 4 / 3
    assert drifting.seconds < 1.0, "ten pairs of chunks of 25 ms, or a few more"


def test_the_ratio_of_a_call_to_itself_is_one(drifting):
    assert compare_calls(drifting.slow, drifting.slow, 10.0).ratio == pytest.approx(1.0, rel=0.03)


def test_pairs_go_on_until_the_ratio_is_known_or_the_time_is_up(drifting):
    """Single calls of 25 ms and more make chunks of three, whose fastest calls differ by a half and more."""
    waves = itertools.cycle([30.0] * 3 + [60.0] * 3 + [45.0] * 3)
    found = compare_calls(lambda: drifting.take(next(waves)), drifting.slow, 2.0)
    assert found.spread > 3.0 and 2.0 < drifting.seconds < 2.5


def test_the_range_of_a_ratio_is_the_notch_of_its_quartiles(monkeypatch):
    """Ratios 1, 2, 3, 4, 5 of five pairs: quartiles 2 and 4, median 3, so 2 x 1.57 x 2 / sqrt(5) / 3 = 93.62 %."""
    chunks = iter([[1.0], [1.0], [2.0], [1.0], [3.0], [1.0], [4.0], [1.0], [5.0], [1.0]])
    monkeypatch.setattr(latency, "_chunk", lambda call: next(chunks))
    found = compare_calls(lambda: None, lambda: None, 0.0)
    assert found == (3.0, 93.62, 1.0)


class Seen(nn.Module):
    """Notes what it is given, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[object] = set()

    def forward(self, images: Tensor) -> Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        self.seen.add((tuple(images.shape), images.is_contiguous(memory_format=torch.channels_last), autocast))
        assert not torch.is_grad_enabled()
        return images


@pytest.mark.parametrize("bf16", [False, True])
def test_the_time_is_that_of_the_batch_and_the_precision_asked_for(bf16):
    network = Seen()
    time_calls(forward_pass(network, (7, 3, 6, 5), Compute(CPU.device, bf16)), 0.0)
    assert network.seen == {((7, 3, 6, 5), True, bf16)}


@pytest.mark.parametrize("bf16", [False, True])
def test_both_networks_get_that_batch_in_that_precision(bf16):
    network, reference = Seen(), Seen()
    compare_networks(network, reference, (7, 3, 6, 5), Compute(CPU.device, bf16), 0.0)
    assert network.seen == reference.seen == {((7, 3, 6, 5), True, bf16)}
