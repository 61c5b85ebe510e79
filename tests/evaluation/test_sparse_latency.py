"""Times of a linear layer: what is slow is seen as slow."""

import time

import torch
from torch import nn

from evoprune.evaluation import sparse_latency
from evoprune.evaluation.sparse_latency import linear_times_ms


def test_both_ways_are_timed_on_the_same_rows_and_the_layer_is_left_as_it_is(monkeypatch):
    linear = nn.Linear(8, 8)
    before = linear.weight.clone()
    seen: list[torch.Size] = []

    class Slow(sparse_latency.CsrLinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.shape)
            time.sleep(0.002)
            return super().forward(x)

    monkeypatch.setattr(sparse_latency, "CsrLinear", Slow)
    monkeypatch.setattr(sparse_latency, "_REPEATS", 5)
    dense, sparse = linear_times_ms(linear, 3)
    assert 0 < dense < 2 <= sparse and set(seen) == {(3, 8)} and torch.equal(linear.weight, before)
