"""What needs no GPU of a captured step: inputs are copied into tensors that stay, the state is what the step changes.

That a captured step computes what the plain one does is checked by benchmarks/gpu_population.py, on a GPU.
"""

import pytest
import torch

from evoprune.training import cuda_graph
from evoprune.training.cuda_graph import GraphedStep, _warm_up


@pytest.fixture
def captured(monkeypatch):
    """Stands in for CUDA: a capture runs the step twice and gives the state back; a replay runs it again."""
    captures = []

    def capture(step, changed):
        values = [tensor.clone() for tensor in changed]
        step()
        step()
        for tensor, value in zip(changed, values, strict=True):
            tensor.copy_(value)
        captures.append(list(changed))
        return step

    monkeypatch.setattr(cuda_graph, "capture", capture)
    return captures


def test_a_step_is_captured_once_and_replayed_on_what_it_is_given(captured):
    weight = torch.zeros(2)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight.add_(images * labels)
        return images.sum()

    graphed = GraphedStep(step, [weight])
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    assert float(graphed(first, torch.tensor(1.0))) == 3
    assert weight.tolist() == [1, 2], "the warm-up has left no trace"
    assert float(graphed(second, torch.tensor(2.0))) == 8
    assert weight.tolist() == [7, 12]
    assert len(captured) == 1 and captured[0][0] is weight


def test_inputs_keep_their_places(captured):
    seen = []
    graphed = GraphedStep(lambda images: seen.append(images.data_ptr()) or images.sum(), [])
    for value in (1.0, 2.0, 3.0):
        assert float(graphed(torch.full((4,), value))) == 4 * value
    assert len(set(seen)) == 1


@pytest.mark.parametrize("draws", [False, True])
def test_a_warm_up_notices_what_a_step_draws_on_the_cpu(draws):
    """A captured step would have the same numbers at every replay."""
    rng = torch.Generator().manual_seed(0)
    steps = []
    assert _warm_up(lambda: steps.append(torch.rand(1, generator=None if draws else rng))) is draws
    assert len(steps) == 3
