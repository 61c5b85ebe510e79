"""Short measurements: of what they are made, and for how much they stand."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evoprune.config import Experiment
from evoprune.runs.folder import RunFolder
from evoprune.search.proposals.random import Random
from evoprune.space.costs import code_costs
from evoprune.stages.context import Context
from evoprune.stages.probe import Probe, second_time


def make_probe(experiment: Experiment) -> Probe:
    return Probe(Context(experiment, RunFolder(Path("unused"))))


@pytest.mark.parametrize("count", [1, 4])
def test_its_codes_lie_around_the_median_of_random_ones(tiny, small_space, count):
    probe = make_probe(tiny(workers={"candidates_per_batch": count}))
    assert len(probe.codes) == count
    full = code_costs(small_space, small_space.full_code())["flops"]
    drawn = Random(small_space, 0.2).first(2000, np.random.default_rng(1))
    shares = [code_costs(small_space, code)["flops"] / full for code in drawn]
    low, high = np.quantile(shares, [0.35, 0.65])
    assert all(low < code_costs(small_space, code)["flops"] / full < high for code in probe.codes)
    mean = np.mean([code_costs(small_space, code)["flops"] for code in probe.codes]) / full
    assert probe.flops_share == pytest.approx(mean)


def test_its_slim_network_is_that_of_its_first_code(tiny, small_space):
    probe = make_probe(tiny())
    params = sum(value.numel() for value in probe.slim.parameters())
    assert params == code_costs(small_space, probe.codes[0])["params"]


def test_a_few_steps_stand_for_an_epoch(tiny, monkeypatch):
    """20 steps of 32 of the 1,150 training images are 0.556 epochs; a shorter recipe is measured whole."""
    probe = make_probe(tiny(base={"batch_size": 32, "epochs": 5}))
    recipe = probe.context.experiment.base
    few = 20 * 32 / len(probe.data.train)
    assert 0.5 < few < 0.6 and probe.few_epochs(recipe) == pytest.approx(few)
    assert probe.few_epochs(recipe.model_copy(update={"epochs": 0.1})) == 0.1
    monkeypatch.setattr("evoprune.stages.probe.second_time", lambda work: 3.0)
    assert probe.epoch_s(probe.base, recipe, probe.compute) == pytest.approx(3.0 / few)
    assert probe.epoch_s(probe.base, recipe.model_copy(update={"epochs": 0.0}), probe.compute) == 0.0


def test_an_epoch_is_measured_with_a_real_training(tiny):
    probe = make_probe(tiny(base={"epochs": 0.1}))
    weights = probe.base.state_dict()["conv1.weight"].clone()
    assert probe.epoch_s(probe.base, probe.context.experiment.base, probe.compute) > 0
    assert not torch.equal(probe.base.state_dict()["conv1.weight"], weights)


@pytest.mark.parametrize(("number", "rounds"), [(0, 0), (1, 1), (3, 1), (4, 2), (7, 3)])
def test_side_by_side_three_workers_do_three_things_at_once(tiny, number, rounds):
    probe = make_probe(tiny(workers={"backend": "ray", "num_workers": 3}))
    assert probe.num_workers == 3 and probe.side_by_side(number) == rounds


def test_all_cores_are_given_back(tiny, monkeypatch):
    """What runs before workers start has the whole machine; a worker has its own threads again afterwards."""
    monkeypatch.setattr("evoprune.networks.device.available_cpus", lambda: 2)
    probe = make_probe(tiny(workers={"device": "cpu"}))
    threads: list[int] = []

    def measure(compute: Any) -> float:
        threads.append(torch.get_num_threads())
        return 1.5

    assert probe.on_all_cores(measure) == 1.5
    assert threads == [2] and torch.get_num_threads() == 1


def test_time_is_that_of_the_second_call():
    calls: list[float] = []

    def work() -> None:
        time.sleep(0.02 if calls else 0.5)
        calls.append(time.monotonic())

    assert 0.02 <= second_time(work) < 0.3 and len(calls) == 2
