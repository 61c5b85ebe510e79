"""Times of saved models: what can run them here, and how much faster they are than the base network."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from evoprune.evaluation import latency
from evoprune.networks.device import CPU
from evoprune.stages import model_times
from evoprune.stages.model_times import measure_times, model_calls


@pytest.fixture(autouse=True)
def _short_timings() -> None:
    """Here time passes only as a test says."""


class Slowing:
    """A machine that takes 1 % longer for everything after each call. Time passes only in calls."""

    def __init__(self) -> None:
        self.seconds, self._factor = 0.0, 1.0

    def perf_counter(self) -> float:
        return self.seconds

    def thread_time(self) -> float:
        return self.seconds

    def take(self, milliseconds: float) -> None:
        self.seconds += milliseconds * self._factor / 1000
        self._factor *= 1.01


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Slowing:
    slowing = Slowing()
    monkeypatch.setattr(latency, "time", slowing)
    return slowing


def test_a_machine_that_slows_down_changes_no_speed_up(machine):
    """The base network is timed first. Some hundred calls later the same call takes several times as long."""

    def calls(ms: float) -> model_times.Calls:
        return {"torch": lambda batch: partial(machine.take, ms * batch)}

    base = measure_times(calls(40.0))
    assert (base["torch_speed_up_1"], base["torch_speed_up_128"]) == (1.0, 1.0)
    half = measure_times(calls(20.0), calls(40.0))
    assert half["torch_ms_1"] > base["torch_ms_1"], "it looks slower"
    assert half["torch_speed_up_1"] == pytest.approx(2.0, rel=0.05)
    assert half["torch_speed_up_spread_1"] < 3.0


def test_a_runtime_that_the_base_network_lacks_has_times_and_no_speed_up(machine):
    found = measure_times({"onnx": lambda batch: partial(machine.take, 30.0)}, {})
    assert found["onnx_ms_1"] > 0 and "onnx_speed_up_1" not in found


class Odd(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(images)


def test_a_network_that_onnx_cannot_have_runs_in_pytorch_alone(capsys):
    calls = model_calls(Path("odd"), Odd().eval(), (1, 8, 8), CPU)
    assert set(calls) == {"torch"} and "odd: not measured in ONNX Runtime" in capsys.readouterr().out
    calls["torch"](3)()
