"""Draws from torch's own generators: from a seed, and nobody else's afterwards."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from evoprune.networks.draws import generator_states, generators, seeded


def drawn(seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.rand(3)


def test_they_come_from_the_seed_and_the_draws_of_others_go_on():
    torch.manual_seed(0)
    first, second = torch.rand(3), torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), first)
    with seeded(7):
        assert torch.equal(torch.rand(3), drawn(7))
    assert torch.equal(torch.rand(3), second)


def test_an_error_leaves_the_draws_of_others_too():
    torch.manual_seed(0)
    try:
        with seeded(7):
            raise ValueError
    except ValueError:
        pass
    assert torch.equal(torch.rand(3), drawn(0))


def test_who_holds_the_generators_draws_what_the_seed_says_among_threads():
    def build(_: int) -> Tensor:
        with generators, seeded(7):
            return torch.stack([torch.rand(3) for _ in range(50)])

    def train(seed: int) -> None:
        for _ in range(200):
            with seeded(seed):
                pass

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(train, seed) for seed in range(3)]
        built = list(pool.map(build, range(20)))
        for other in others:
            other.result()
    assert all(torch.equal(one, built[0]) for one in built)


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), random.random, lambda: np.random.rand(1)])
def test_whoever_draws_leaves_a_generator_elsewhere(draw):
    before = generator_states()
    torch.rand(3, generator=torch.Generator().manual_seed(0))
    assert generator_states() == before
    draw()
    assert generator_states() != before
