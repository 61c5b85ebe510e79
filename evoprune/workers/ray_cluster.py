"""A Ray cluster: this machine's own, or one that is there. The only module that imports Ray."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError, reason_of
from evoprune.common.locks import lock_folder
from evoprune.common.processes import Process, descendants, end
from evoprune.common.signals import cleaned_up, deferred
from evoprune.common.user_files import user_modules
from evoprune.config import WorkersConfig
from evoprune.workers.ray_head import watched, watched_head
from evoprune.workers.resources import Node, Shape, make_shape, this_machine

_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # asked for by madvise; other C libraries do not read it
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
_PREFIX = "evoprune-ray-"
_LONGEST_PARENT = 24
_PATIENCE_S = 3.0


def worker_environment(shape: Shape) -> dict[str, str]:
    """What must stand in a worker's environment before it imports torch."""
    threads = str(shape.cpus_per_worker)  # else the libraries start as many threads as the machine has cores
    # Feature maps are megabytes that come and go with every layer: small pages took 3 to 7 % of the time.
    malloc = ":".join(filter(None, [_HUGE_PAGES, os.environ.get("GLIBC_TUNABLES")]))  # of two values the last counts
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLIBC_TUNABLES": malloc}


def _endpoint(address: str) -> tuple[str, int] | None:
    """Host and port of an address of Ray; None for `auto`, or a name that Ray resolves."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


def _probe(address: str) -> None:
    """Fail within seconds where nobody listens at `address`: Ray itself keeps trying for minutes."""
    endpoint = _endpoint(address)
    if endpoint is None:
        return
    try:
        socket.create_connection(endpoint, timeout=10).close()
    except OSError as error:
        raise UserError(f"workers.address: nobody listens at {address!r}: {error}") from None


@contextmanager
def open_ray(config: WorkersConfig) -> Iterator[tuple[Any, Shape]]:
    """Import Ray and connect: to `address`, or to a cluster of this machine alone that ends with the context.

    No process and no file of that cluster is left then, whatever signal comes while it starts or ends.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against its warning
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 any other process starves a search on CPUs
    if config.address is None and "ray" not in sys.modules:  # which reads it once
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray listens on all interfaces; it makes a token by itself
    with deferred():
        import ray
        import ray.cloudpickle
        import ray.exceptions
        import ray.runtime_env

        for module in user_modules():  # workers cannot import the user's files: classes travel with their code
            ray.cloudpickle.register_pickle_by_value(module)
    with ExitStack() as stack:
        if config.address is None:
            shape = _start(ray, config, stack)
            _check_resources(shape, ray.cluster_resources())
        else:
            shape = _join(ray, config)
            stack.callback(ray.shutdown)
            head = _endpoint(config.address) or _endpoint(ray.get_runtime_context().gcs_address)
            stack.enter_context(watched_head(*head) if head else nullcontext())
            _check_resources(replace(shape, num_workers=1), _largest(living_nodes(ray).values()))
        yield ray, shape


def fetch(reference: Any) -> Any:
    """What lies in Ray's object store, in a worker of Ray's; arrays are read in place."""
    import ray

    return ray.get(reference)


def living_nodes(ray: Any) -> dict[str, Node]:
    """What each node of the cluster has, by the node's id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _runtime_env(ray: Any, config: WorkersConfig) -> Any:
    try:
        return ray.runtime_env.RuntimeEnv(**config.runtime_env)
    except (TypeError, ValueError) as error:
        raise UserError(f"workers.runtime_env: Ray does not take {dict(config.runtime_env)}: {error}") from None


def _start(ray: Any, config: WorkersConfig, stack: ExitStack) -> Shape:
    """Start a cluster of this machine alone, of which nothing is left when `stack` is unwound."""
    machine = this_machine(config)
    shape = make_shape(config, [machine])
    num_cpus, num_gpus = shape.num_workers * shape.cpus_per_worker, int(machine["GPU"])
    environment = _runtime_env(ray, config)
    folder = stack.enter_context(session_folder())
    others = descendants()
    stack.callback(_stop, ray, others)
    try:
        with deferred():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                include_dashboard=False,
                runtime_env=environment,
                _temp_dir=folder,
                **_QUIET,
            )
    except Exception as error:  # Ray gives its processes half a minute, and raises no class of its own
        raise UserError(
            f"workers: Ray did not start on this machine: {reason_of(error)}; where that is too busy the same command "
            "may go on later; `workers.backend: local` needs no Ray"
        ) from None
    stack.enter_context(watched(descendants() - others))
    return shape


def _stop(ray: Any, others: set[Process]) -> None:
    """End the cluster, and those of its processes that outlive it; `others` were there before it."""
    started = descendants() - others
    with deferred():
        ray.shutdown()
        end(started, patience_s=_PATIENCE_S)


def _join(ray: Any, config: WorkersConfig) -> Shape:
    assert config.address is not None
    _probe(config.address)
    environment = _runtime_env(ray, config)
    try:
        with deferred():
            ray.init(address=config.address, runtime_env=environment, **_QUIET)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"workers.address: no Ray cluster at {config.address!r} that lets us in: {error}; "
            "where the cluster asks for a token, set RAY_AUTH_MODE=token in this process's environment"
        ) from None
    return make_shape(config, list(living_nodes(ray).values()))


@contextmanager
def session_folder() -> Iterator[str]:
    """A folder for what Ray writes, which is removed at the end; so are those of processes that were killed."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_PARENT:
        parent = Path("/tmp")  # Ray puts sockets there, whose paths have at most 107 characters
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(UserError, OSError), lock_folder(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    with lock_folder(folder), cleaned_up(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield str(folder)


def _largest(nodes: Iterable[Node]) -> Node:
    """The most that any of the nodes has."""
    most: dict[str, float] = {}
    for node in nodes:
        most |= {name: max(number, most.get(name, 0.0)) for name, number in node.items()}
    return most


def _check_resources(shape: Shape, has: Mapping[str, float]) -> None:
    for resource, each in (("CPU", shape.cpus_per_worker), ("GPU", shape.gpus_per_worker)):
        if shape.num_workers * each > has.get(resource, 0):
            key = f"{resource.lower()}s_per_worker"
            raise UserError(
                f"workers: {shape.num_workers} workers with {key}: {each} need {shape.num_workers * each:g} "
                f"{resource}s, Ray has {has.get(resource, 0):g}; lower workers.num_workers or workers.{key}"
            )
