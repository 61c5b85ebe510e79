"""What a worker is, and how many candidates train at once in it."""

from dataclasses import replace

import pytest
import torch
from strangers import Asks, Branches

from evoprune import load_search_space
from evoprune.common.hardware import cpu_name
from evoprune.config import WorkersConfig
from evoprune.evaluation.worker import (
    MOST_CANDIDATES,
    candidates_per_batch,
    candidates_that_fit,
    codes_per_batch,
    describe_workers,
    one_by_one,
    worker_compute,
    worker_facts,
)
from evoprune.networks.device import CPU
from evoprune.networks.traced import trace_search_space
from evoprune.workers.pool import open_workers


def test_how_many_fit_follows_the_memory():
    space = load_search_space("resnet20")
    # By hand, values that layers read and write: the stem, and each stage with its shortcut.
    maps = 3 * 32**2 + 13 * 16 * 32**2
    maps += 2 * 16 * 32**2 + 12 * 32 * 16**2
    maps += 2 * 32 * 16**2 + 12 * 64 * 8**2
    maps += 64 + 10
    each = 2 * 4 * maps * 128 + 5 * 4 * 272_474
    found = [candidates_that_fit(space, 128, int(number * each / 0.8 * 1.02)) for number in (0, 1, 2, 7, 31, 32, 500)]
    assert found == [1, 1, 2, 7, 31, 32, MOST_CANDIDATES]


def test_auto_is_one_on_a_cpu_and_a_number_is_itself(small_space):
    assert candidates_per_batch(WorkersConfig(), "cpu", small_space, 128) == 1
    assert candidates_per_batch(WorkersConfig(candidates_per_batch=5), "cpu", small_space, 128) == 5


def test_a_generation_has_something_for_every_worker(make_experiment, small_space):
    """17 codes on 3 workers are 6 each; no batch is larger than what trains at once."""
    for at_once, wanted in ((1, 1), (4, 4), (6, 6), (32, 6)):
        workers = {"backend": "ray", "num_workers": 3, "candidates_per_batch": at_once}
        experiment = make_experiment(workers=workers, search={"num_individual": 17})
        assert codes_per_batch(experiment, small_space) == wanted


def test_a_worker_says_what_it_is(make_experiment):
    experiment = make_experiment(precision="bf16", workers={"backend": "local", "device": "cpu", "cpus_per_worker": 1})
    compute = worker_compute(experiment)
    assert compute == replace(CPU, bf16=True) and torch.get_num_threads() == 1
    facts = {"device": cpu_name(), "precision": "bf16", "threads": 1}
    assert worker_facts(experiment) == facts
    with open_workers(experiment.workers, lambda: lambda item: iter(())) as workers:
        assert describe_workers(workers, experiment) == [{**facts, "workers": 1}]


@pytest.mark.parametrize(("network", "reason"), [(Branches, None), (Asks, "item")])
def test_a_network_that_cannot_be_stacked_is_trained_one_by_one(make_experiment, network, reason):
    torch.manual_seed(0)
    base = network().eval()
    space = trace_search_space(base, torch.zeros(2, 3, 8, 8))
    together = make_experiment(workers={"candidates_per_batch": 2, "num_workers": 1})
    found = one_by_one(together, space, base)
    assert found is None if reason is None else reason in found
    assert one_by_one(make_experiment(workers={"candidates_per_batch": 1}), space, base) is None


def test_a_carried_space_is_stacked_by_its_layers(make_experiment, small_space, small_base):
    assert one_by_one(make_experiment(workers={"candidates_per_batch": 2}), small_space, small_base) is None
