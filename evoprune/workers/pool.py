"""Starts workers: in this process, or on Ray."""

from contextlib import AbstractContextManager

from evoprune.common.progress import say
from evoprune.config import WorkersConfig
from evoprune.workers.jobs import JobFactory, Workers
from evoprune.workers.local import LocalWorkers
from evoprune.workers.ray_pool import RayWorkers
from evoprune.workers.threads import ThreadWorkers


def open_workers(config: WorkersConfig, factory: JobFactory) -> AbstractContextManager[Workers]:
    """Start workers that live until the context ends; says so where that takes seconds, or waits for a cluster.

    Raises:
        UserError: the cluster lacks the resources or cannot be reached, or a worker cannot load what the job needs.
    """
    if config.backend == "ray":
        say(f"workers: starting on Ray{f', at {config.address}' if config.address else ''}")
        return RayWorkers(config, factory)
    num_threads = 1 if config.num_workers == "auto" else int(config.num_workers)
    return LocalWorkers(factory) if num_threads == 1 else ThreadWorkers(num_threads, factory)
