"""How many workers, on what: all of a machine or cluster by default, and what was asked for otherwise."""

import os

import pytest

from evoprune.config import WorkersConfig
from evoprune.workers import resources
from evoprune.workers.resources import Shape, make_shape, own_cores, room, this_machine

TWO_GPU_NODES = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}]


@pytest.mark.parametrize(
    ("keys", "nodes", "num_workers", "gpus"),
    [
        ({}, [{"CPU": 6}], 6, 0),
        ({"cpus_per_worker": 4}, [{"CPU": 6}], 1, 0),
        ({"cpus_per_worker": 4}, [{"CPU": 6}, {"CPU": 6}], 2, 0),  # none reaches over two nodes
        ({"cpus_per_worker": 8}, [{"CPU": 2}], 1, 0),  # refused later, by name
        ({}, TWO_GPU_NODES, 8, 1),
        ({"gpus_per_worker": 0.5}, TWO_GPU_NODES, 16, 0.5),
        ({"gpus_per_worker": 0.3}, TWO_GPU_NODES, 20, 0.3),  # three on a GPU, and 8 cores on the second node
        ({"gpus_per_worker": 2.0}, TWO_GPU_NODES, 4, 2),
        ({"cpus_per_worker": 4}, TWO_GPU_NODES, 6, 1),  # cores run out on the second
        ({}, [{"CPU": 64}, {"CPU": 8, "GPU": 2}], 2, 1),  # a head node without GPU works for none
        ({"device": "cpu"}, TWO_GPU_NODES, 24, 0),
        ({"gpus_per_worker": 0.0}, TWO_GPU_NODES, 24, 0),
        ({"num_workers": 3}, [{"CPU": 2}], 3, 0),
    ],
)
def test_auto_fills_the_nodes(keys, nodes, num_workers, gpus):
    config = WorkersConfig(**keys)
    assert make_shape(config, nodes) == Shape(num_workers, config.cpus_per_worker, gpus)


@pytest.mark.parametrize(
    ("num_workers", "num_gpus", "share"), [(2, 0, 0), (2, 1, 1 / 2), (3, 2, 1 / 2), (5, 2, 1 / 3), (2, 2, 1), (2, 5, 2)]
)
def test_a_given_number_shares_gpus_so_that_every_worker_fits(num_workers, num_gpus, share):
    shape = make_shape(WorkersConfig(num_workers=num_workers), [{"CPU": 99, "GPU": num_gpus}])
    assert shape == Shape(num_workers, 1, share)


@pytest.mark.parametrize(("num_gpus", "wanted"), [(0, 3), (2, 3), (5, 5)])
def test_no_gpu_of_this_machine_is_idle_for_want_of_cores(monkeypatch, num_gpus, wanted):
    monkeypatch.setattr(resources, "available_cpus", lambda: 3)
    monkeypatch.setattr(resources, "available_gpus", lambda: num_gpus)
    assert this_machine(WorkersConfig()) == {"CPU": wanted, "GPU": num_gpus}
    assert this_machine(WorkersConfig(device="cpu")) == {"CPU": 3, "GPU": 0}
    assert make_shape(WorkersConfig(), [this_machine(WorkersConfig())]).num_workers == (num_gpus or 3)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin")
@pytest.mark.parametrize(
    ("shape", "slots"),
    [
        (Shape(4, 1, 0), [(2,), (3,), (5,), (7,)]),
        (Shape(2, 2, 0), [(2, 3), (5, 7)]),
        (Shape(1, 3, 0), [(2, 3, 5)]),  # the core that is left is too little for one more
        (Shape(3, 1, 0), [(), (), ()]),
        (Shape(5, 1, 0), [()] * 5),
        (Shape(4, 1, 0.25), [()] * 4),
    ],
)
def test_cpu_workers_that_fill_the_machine_have_their_own_cores(monkeypatch, shape, slots):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 5, 3})
    assert own_cores(shape) == slots


@pytest.mark.parametrize(
    ("num_workers", "nodes", "number"),
    [
        ("auto", [{"CPU": 2}], 2),
        ("auto", [{"CPU": 2}, {"CPU": 3}], 5),
        ("auto", [], 0),
        (4, [{"CPU": 2}], 2),
        (4, [{"CPU": 2}, {"CPU": 3}], 4),
    ],
)
def test_there_is_room_for_what_fits_and_was_asked_for(num_workers, nodes, number):
    assert room(WorkersConfig(num_workers=num_workers), Shape(9, 1, 0.0), nodes) == number


def test_a_shared_gpu_has_room_for_its_sharers():
    assert room(WorkersConfig(), Shape(9, 1, 0.5), TWO_GPU_NODES) == 16
