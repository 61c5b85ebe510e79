"""Which shape of CPU workers trains most images per second? One worker with all cores, or one per core, pinned or not.

Usage: python benchmarks/worker_shape.py [--rounds 5] [--steps 40]
Trains the same slim ResNet-20s on 32x32 noise in every shape, in turns, and prints the medians of all rounds. Compare
ratios: other work on the machine slows all shapes.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import numpy as np

from evoprune.common.hardware import available_cpus
from evoprune.config import DataConfig, TrainingConfig
from evoprune.data.dataset import RawData
from evoprune.data.tensors import make_data
from evoprune.networks.build import build_network
from evoprune.networks.device import make_compute
from evoprune.space.from_yaml import load_search_space
from evoprune.training.loop import TrainingOptions, train
from evoprune.workers.resources import Shape, own_cores

BATCH_SIZE, NUM_IMAGES = 128, 2560


def work(cores: Sequence[int], threads: int, steps: int, seed: int, barrier: Barrier) -> None:
    """Train one slim network for a moment to warm up, then between the two gates of `barrier`."""
    if cores:
        os.sched_setaffinity(0, cores)
    compute = make_compute("cpu", "auto", threads)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    part = images, rng.integers(0, 10, NUM_IMAGES)
    config = DataConfig(dataset="cifar10", validation="own")
    data = make_data(RawData(part, part, part, 10), config, compute.device)
    space = load_search_space("resnet20")
    network = build_network(space, space.repair((rng.random(space.length) < 0.6).astype(np.uint8)))
    for num_steps in (3, steps):
        recipe = TrainingConfig(epochs=num_steps * BATCH_SIZE / NUM_IMAGES, batch_size=BATCH_SIZE)
        list(train(network, data, recipe, compute, TrainingOptions(seed)))
        barrier.wait()


def images_per_second(shape: Shape, pinned: bool, steps: int) -> float:
    """Images that all workers of a shape train on per second, from the first one's start to the last one's end."""
    context = get_context("spawn")
    barrier = context.Barrier(shape.num_workers + 1)
    cores = own_cores(shape) if pinned else [()] * shape.num_workers
    jobs = [
        context.Process(target=work, args=(own, shape.cpus_per_worker, steps, seed, barrier))
        for seed, own in enumerate(cores)
    ]
    for job in jobs:
        job.start()
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - started
    for job in jobs:
        job.join()
    return shape.num_workers * steps * BATCH_SIZE / seconds


def shapes() -> Iterator[tuple[str, Shape, bool]]:
    cpus = available_cpus()
    yield f"1 worker x {cpus} threads", Shape(1, cpus, 0), False
    yield f"{cpus} workers x 1 thread, pinned", Shape(cpus, 1, 0), True
    yield f"{cpus} workers x 1 thread, not pinned", Shape(cpus, 1, 0), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    runs = {name: partial(images_per_second, shape, pinned, arguments.steps) for name, shape, pinned in shapes()}
    speeds = [{name: run() for name, run in runs.items()} for _ in range(arguments.rounds)]
    medians = {name: statistics.median(round_[name] for round_ in speeds) for name in runs}
    first = next(iter(medians.values()))
    print("| shape | images/s | ratio |\n|---|---|---|")
    for name, speed in medians.items():
        print(f"| {name} | {speed:.0f} | {speed / first:.2f} |")


if __name__ == "__main__":
    main()
