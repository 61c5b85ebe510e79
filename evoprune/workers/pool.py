"""Starts workers: in this process, or on Ray."""

from contextlib import AbstractContextManager

from evoprune.config import WorkersConfig
from evoprune.workers.jobs import JobFactory, Workers
from evoprune.workers.local import LocalWorkers
from evoprune.workers.ray_pool import RayWorkers


def open_workers(config: WorkersConfig, factory: JobFactory) -> AbstractContextManager[Workers]:
    """Start workers that live until the context ends.

    Raises:
        UserError: the cluster lacks the resources or cannot be reached, or a worker cannot load what the job needs.
    """
    return LocalWorkers(factory) if config.backend == "local" else RayWorkers(config, factory)
