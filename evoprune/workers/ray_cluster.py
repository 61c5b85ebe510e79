"""A Ray cluster: this machine's own, or one that is there. The only module that imports Ray."""

import os
import socket
from collections.abc import Mapping
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.user_files import user_modules
from evoprune.config import WorkersConfig
from evoprune.workers.resources import Shape, make_shape, this_machine

_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # asked for by madvise; other C libraries do not read it


def worker_environment(shape: Shape) -> dict[str, str]:
    """What must stand in a worker's environment before it imports torch."""
    threads = str(shape.cpus_per_worker)  # else the libraries start as many threads as the machine has cores
    # Feature maps are megabytes that come and go with every layer: small pages took 3 to 7 % of the time.
    malloc = ":".join(filter(None, [_HUGE_PAGES, os.environ.get("GLIBC_TUNABLES")]))  # of two values the last counts
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLIBC_TUNABLES": malloc}


def _probe(address: str) -> None:
    """Fail within seconds where nobody listens at `address`: Ray itself keeps trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"workers.address: nobody listens at {address!r}: {error}") from None


def start_ray(config: WorkersConfig) -> tuple[Any, Shape]:
    """Import Ray and connect: to `address`, or to a cluster of this machine alone that ends with the run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against its warning
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 any other process starves a search on CPUs
    import ray
    import ray.cloudpickle
    import ray.exceptions

    for module in user_modules():  # workers cannot import the user's files: classes travel with their code
        ray.cloudpickle.register_pickle_by_value(module)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if config.address is None:
        machine = this_machine(config)
        shape = make_shape(config, [machine])
        cpus = shape.num_workers * shape.cpus_per_worker
        ray.init(address="local", num_cpus=cpus, num_gpus=int(machine["GPU"]), include_dashboard=False, **quiet)
    else:
        _probe(config.address)
        try:
            ray.init(address=config.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"workers.address: no Ray cluster at {config.address!r} that lets us in: {error}; "
                "where the cluster asks for a token, set RAY_AUTH_MODE=token in this process's environment"
            ) from None
        shape = make_shape(config, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    try:
        _check_resources(shape, ray.cluster_resources())
    except UserError:
        ray.shutdown()
        raise
    return ray, shape


def _check_resources(shape: Shape, has: Mapping[str, float]) -> None:
    for resource, each in (("CPU", shape.cpus_per_worker), ("GPU", shape.gpus_per_worker)):
        if shape.num_workers * each > has.get(resource, 0):
            key = f"{resource.lower()}s_per_worker"
            raise UserError(
                f"workers: {shape.num_workers} workers with {key}: {each} need {shape.num_workers * each:g} "
                f"{resource}s, Ray has {has.get(resource, 0):g}; lower workers.num_workers or workers.{key}"
            )
