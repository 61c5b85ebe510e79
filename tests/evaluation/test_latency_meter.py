"""Latency as an experiment asks for it: in this process, or by a command that gets the saved network."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import few_digits
from torch import nn

from evoprune.common.locks import hold
from evoprune.config import EvaluationConfig, Fidelity
from evoprune.evaluation import latency_meter
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.latency import Comparison
from evoprune.evaluation.latency_command import LatencyError
from evoprune.evaluation.latency_meter import LatencyMeter, latency_facts, make_meter
from evoprune.networks.device import CPU
from evoprune.pruning.channels import slim_network
from evoprune.workers.turns import Turns

COUNT = """
import sys, evoprune
network = evoprune.load_model(sys.argv[1])
print("parameters:")
print(sum(parameter.numel() for parameter in network.parameters()))
"""


@pytest.fixture
def make(small_space, small_base, tmp_path):
    def meter(**keys: Any) -> LatencyMeter:
        config = EvaluationConfig(**keys)
        return LatencyMeter(config, small_space, small_base, few_digits(64), CPU, Turns(f"test-{tmp_path}"))

    return meter


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_network_runs_alone_in_the_precision_that_is_asked_for(
    make, small_base, small_space, monkeypatch, precision
):
    meter, seen = make(latency_precision=precision, latency_batch_size=3, latency_limit_s=7.0), []

    def compare_networks(network, reference, shape, compute, limit_s):
        others = replace(meter.turns, patience_s=0.05)
        with others.beside():
            seen.append((network is small_base, num_parameters(reference), shape, compute.precision, limit_s))
        return Comparison(0.25, 0.5, 5.0)

    monkeypatch.setattr(latency_meter, "compare_networks", compare_networks)
    measured = meter.measure(small_base, small_space.full_code())
    assert measured == {"latency": 1.25, "base_latency": 5.0, "latency_spread": 0.5}
    assert seen == [(True, num_parameters(small_base), (3, 1, 8, 8), precision, 7.0)]


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_base_network_takes_as_long_as_itself(make, small_base, small_space):
    measured = make().measure(small_base, small_space.full_code())
    assert measured["latency"] == pytest.approx(measured["base_latency"], rel=0.3)


def test_a_command_gets_the_slim_network_as_a_saved_model(make, small_base, small_space, mixed_codes):
    meter = make(latency_command=[sys.executable, "-c", COUNT, "{model}"], latency_limit_s=60.0)
    slim = slim_network(small_space, small_base, mixed_codes[0])
    found = meter.measure(slim, mixed_codes[0])
    assert found == {"latency": num_parameters(slim), "base_latency": None, "latency_spread": None}


def test_a_command_that_fails_is_told(make, small_base, small_space):
    meter = make(latency_command=[sys.executable, "-c", "import sys; sys.exit('no board')", "{model}"])
    with pytest.raises(LatencyError, match="exit status 1: no board"):
        meter.measure(small_base, small_space.full_code())


@pytest.mark.parametrize("at_once", [1, 2])
def test_candidates_run_beside_others_and_are_timed_alone(
    make, small_base, small_space, mixed_codes, monkeypatch, at_once
):
    meter, order = make(), []

    def note(what: str) -> None:
        """Add how this device is held, by what another worker could have."""
        path = meter.turns._file("work")
        with hold(path, alone=False, patience_s=0.03) as beside:
            pass
        with hold(path, alone=True, patience_s=0.03) as alone:
            pass
        order.append((what, {(True, False): "beside", (False, False): "alone", (True, True): "free"}[beside, alone]))

    monkeypatch.setattr(latency_meter, "compare_networks", lambda *_: note("time") or Comparison(0.5, 1.0, 3.0))
    monkeypatch.setattr("evoprune.evaluation.evaluator.recalibrate", lambda *_: note("run"))
    evaluator = Evaluator(small_space, small_base, meter.data, meter.config, CPU, 0, meter, candidates_at_once=at_once)
    rows = evaluator.evaluate(mixed_codes[:2], Fidelity(0), timed=True)
    assert [row["latency"] for row in rows] == [1.5, 1.5]
    note("end")
    run, timed = [("run", "beside")], [("time", "alone")]
    wanted = [*run, *timed] * 2 if at_once == 1 else [*run, *timed, *timed]
    assert order == [*wanted, ("end", "free")]


def test_workers_of_a_run_take_turns_on_a_device(make_experiment, small_space, small_base):
    timed, data = make_experiment(search={"objectives": ["accuracy", "latency"]}), few_digits(8)
    meters = [make_meter(timed, small_space, small_base, data, CPU) for _ in range(2)]
    assert meters[0].turns == meters[1].turns
    assert make_meter(make_experiment(), small_space, small_base, data, CPU) is None
    other = make_meter(timed.model_copy(update={"seed": 1}), small_space, small_base, data, CPU)
    assert other.turns != meters[0].turns


def test_facts_name_the_device_or_the_command(make_experiment):
    search = {"objectives": ["accuracy", "latency"]}
    here = latency_facts(make_experiment(search=search, evaluation={"latency_batch_size": 2}))
    assert (here["threads"], here["precision"], here["batch_size"]) == (1, "fp32", 2) and here["device"]
    there = make_experiment(search=search, evaluation={"latency_command": "measure '{model}' twice"})
    assert latency_facts(there) == {"command": ["measure", "{model}", "twice"]}


def test_gpus_are_told_apart_by_what_they_are(monkeypatch):
    gpu = type("Properties", (), {"uuid": "GPU-7"})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    assert latency_meter._device_id(torch.device("cuda")) == "GPU-7"
    assert latency_meter._device_id(CPU.device) == "cpu"
