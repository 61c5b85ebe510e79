"""Closed-form costs: by hand; a count on narrow networks holds them in every other test of tracing."""

import numpy as np
import pytest
import torch
from torch import nn
from traced import images, ready

from evoprune import UserError
from evoprune.space import traced_costs as module
from evoprune.space.traced_costs import TracedCosts
from evoprune.tracing.trace import trace_channels


@pytest.fixture(scope="module")
def table():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
        nn.Conv2d(4, 6, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip
    return trace_channels(ready(network), images())


def by_hand(first: int, second: int) -> tuple[int, int, int]:
    flops = 64 * 27 * first + 16 * 9 * first + 16 * first * second // 2 + 5 * second
    params = (27 + 1) * first + 2 * first + (9 + 1) * first + first * second // 2 + second + 5 * second + 5
    maps = 64 * (3 + first) + (64 + 16) * first + 16 * (first + second) + second + 5
    return flops, params, 4 * (maps + params - 2 * first)  # the batch norm's scale and shift fold into the weights


def test_costs_by_hand(table):
    codes = [[1] * 10, [1, 0, 0, 1, 1, 0, 0, 0, 0, 1], [0, 1, 1, 0, 1, 1, 0, 1, 1, 0]]
    found = TracedCosts(table).of(codes)
    expected = [by_hand(4, 6), by_hand(2, 2), by_hand(2, 4)]
    assert list(zip(*(found[name].tolist() for name in ("flops", "params", "bandwidth")), strict=True)) == expected


def test_many_codes_are_computed_in_parts(table, monkeypatch):
    codes = np.random.default_rng(0).integers(0, 2, (20, 10))
    whole = TracedCosts(table).of(codes)
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert all(np.array_equal(whole[name], values) for name, values in TracedCosts(table).of(codes).items())


def test_a_single_code_is_a_population_of_one(table):
    assert TracedCosts(table).of([1] * 10)["flops"].shape == (1,)


def test_codes_that_do_not_fit_are_refused(table):
    with pytest.raises(UserError, match="10 bits"):
        TracedCosts(table).of([[1] * 9])


def test_the_number_of_images_in_the_example_does_not_matter(table):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    one, many = (trace_channels(network, torch.randn(batch, 3, 8, 8)) for batch in (1, 5))
    assert (
        TracedCosts(one).of([1] * 4)["flops"].tolist() == TracedCosts(many).of([1] * 4)["flops"].tolist() == [3888 + 20]
    )
