"""What networks draw from torch's own generators: first weights, dropout, stochastic depth."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch

generators = RLock()
"""Hold it where draws must be nobody else's: workers may be threads, and these share torch's generators."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have draws come from `seed` while this lasts, so that they depend on nothing that was drawn before."""
    with generators:
        before = torch.get_rng_state()
        torch.manual_seed(seed)
    try:
        yield
    finally:
        with generators:
            torch.set_rng_state(before)


def generator_states() -> tuple[bytes, ...]:
    """Where the CPU's generators of torch, of Python and of NumPy are: the same again where nothing was drawn."""
    states = random.getstate(), np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), *map(pickle.dumps, states)
