"""How many workers there are, and which cores and GPUs each of them gets: arithmetic, without Ray."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evoprune.common.hardware import available_cpus, available_gpus
from evoprune.config import WorkersConfig

Node = Mapping[str, float]
"""What one machine has, in Ray's words: `CPU` and, where it has any, `GPU`."""


@dataclass(frozen=True)
class Shape:
    """The workers of one run.

    Attributes:
        num_workers: how many.
        cpus_per_worker: cores of each, and its threads.
        gpus_per_worker: GPUs of each; a fraction shares one, 0 means work on the CPU.
    """

    num_workers: int
    cpus_per_worker: int
    gpus_per_worker: float


def worker_device(config: WorkersConfig) -> str:
    """`workers.device` as a worker takes it: one that was given no GPU does not look for one."""
    return "cpu" if config.device == "auto" and config.gpus_per_worker == 0 else config.device


def this_machine(config: WorkersConfig) -> Node:
    """This machine as a node, with cores enough for its GPUs: none is to be idle because cores are few."""
    num_gpus = available_gpus() if worker_device(config) != "cpu" else 0
    return {"CPU": max(available_cpus(), num_gpus * config.cpus_per_worker), "GPU": num_gpus}


def shape_here(config: WorkersConfig) -> Shape:
    """The workers as they would be on this machine alone; `local` are threads, on whatever is here."""
    shape = make_shape(config, [this_machine(config)])
    if config.backend == "ray":
        return shape
    num_workers = 1 if config.num_workers == "auto" else shape.num_workers
    return replace(shape, num_workers=num_workers, gpus_per_worker=min(1.0, available_gpus()) / num_workers)


def make_shape(config: WorkersConfig, nodes: Sequence[Node]) -> Shape:
    """Resolve `num_workers: auto`, as many as fit: one per GPU or `cpus_per_worker` cores; and the share of GPUs."""
    num_gpus = int(sum(node.get("GPU", 0) for node in nodes)) if worker_device(config) != "cpu" else 0
    if config.num_workers == "auto":
        share = 0.0 if num_gpus == 0 else config.gpus_per_worker or 1.0
        num_workers = max(1, sum(_num_fitting(node, config.cpus_per_worker, share) for node in nodes))
    else:
        num_workers = int(config.num_workers)
    share = config.gpus_per_worker if config.gpus_per_worker is not None else _even_share(num_gpus, num_workers)
    return Shape(num_workers, config.cpus_per_worker, share)


def room(config: WorkersConfig, shape: Shape, nodes: Sequence[Node]) -> int:
    """How many workers of `shape` are to be on these nodes: as many as fit, but no more than a given number."""
    fitting = sum(_num_fitting(node, shape.cpus_per_worker, shape.gpus_per_worker) for node in nodes)
    return fitting if config.num_workers == "auto" else min(fitting, int(config.num_workers))


def _num_fitting(node: Node, cpus: int, gpus: float) -> int:
    """Workers that fit on one node; none reaches over two."""
    by_cpu = int(node.get("CPU", 0) // cpus)
    if gpus == 0:
        return by_cpu
    num_gpus = int(node.get("GPU", 0))
    return min(by_cpu, num_gpus * int(1 / gpus + 1e-9) if gpus < 1 else int(num_gpus // gpus))


def _even_share(num_gpus: int, num_workers: int) -> float:
    """All GPUs, shared evenly: whole ones where there are enough."""
    if num_gpus == 0:
        return 0.0
    if num_gpus >= num_workers:
        return float(num_gpus // num_workers)
    return 1 / math.ceil(num_workers / num_gpus)  # as many on each GPU as on the fullest


def own_cores(shape: Shape) -> list[tuple[int, ...]]:
    """Cores of this machine for each worker to keep to; empty ones where workers are better left to the system.

    CPU workers that fill the machine keep to their own cores. Fewer do not: a second run beside them would choose the
    same ones and leave the rest idle. Nor do those of a container with a quota, which does not say which cores are its.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    each = shape.cpus_per_worker
    if shape.gpus_per_worker > 0 or not 0 <= len(cores) - shape.num_workers * each < each:
        return [()] * shape.num_workers
    return [tuple(cores[i * each : (i + 1) * each]) for i in range(shape.num_workers)]
