"""Steps of training as CUDA graphs: a small network's kernels take less time than Python needs to launch them."""

from collections.abc import Callable, Sequence
from threading import Lock

import torch
from torch import Tensor

from evoprune.networks.draws import generator_states, generators

_WARM_UP_STEPS = 3
_one_at_a_time = Lock()


def capture(step: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], None]:
    """Record the kernels of `step` in a CUDA graph, as PyTorch's notes on whole-network capture do; returns its replay.

    Threads may capture while others work, one after the other. A step that draws numbers on the CPU, as a network's own
    code may, is returned as it is: a replay would have the same numbers each time.

    Args:
        step: reads and writes tensors that stay where they are.
        changed: all that `step` changes. The warm-up that a capture needs runs it; then these get their values back.
    """
    with _one_at_a_time:
        values = [tensor.clone() for tensor in changed]
        stream = _capturing_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            is_drawing = _warm_up(step)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if not is_drawing:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                step()
        with torch.no_grad():
            for tensor, value in zip(changed, values, strict=True):
                tensor.copy_(value)
    return step if is_drawing else graph.replay


def _warm_up(step: Callable[[], None]) -> bool:
    """Run a step a few times; whether it has drawn numbers on the CPU."""
    with generators:
        before = generator_states()
        for _ in range(_WARM_UP_STEPS):
            step()
        return generator_states() != before


def _capturing_stream() -> torch.cuda.Stream:
    """The caller's own stream, unless it is the default one, which cannot capture.

    A new one may be another thread's: torch hands out the same 32 again and again.
    """
    current = torch.cuda.current_stream()
    return torch.cuda.Stream() if current == torch.cuda.default_stream() else current


class GraphedStep:
    """A step of training that is captured at its first call and replayed from then on, on inputs of the same shapes.

    Args:
        step: returns the loss without gradient, and changes the state in place.
        state: what the step changes.
    """

    def __init__(self, step: Callable[..., Tensor], state: Sequence[Tensor]):
        self._step, self._state = step, state
        self._inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The loss, in a tensor that the next call writes to."""
        if not self._inputs:
            self._inputs = [each.clone() for each in inputs]
            self._loss = torch.zeros((), device=inputs[0].device)
            self._replay = capture(self._run, self._state)
        for own, each in zip(self._inputs, inputs, strict=True):
            own.copy_(each)
        self._replay()
        return self._loss

    def _run(self) -> None:
        self._loss.copy_(self._step(*self._inputs))
