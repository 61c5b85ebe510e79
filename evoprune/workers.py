"""Runs jobs in this process or on Ray: the same items, the same results, whoever does the work."""

import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from evoprune.config import WorkersConfig
from evoprune.errors import UserError

_START_LIMIT_S = 900.0

Job = Callable[[Any], Iterator[Any]]
"""Does one item of work: yields what it has to report, its result last."""
JobFactory = Callable[[], Job]
"""Builds the job once in every worker. Picklable; NumPy arrays in it are shared by the workers of a node, read-only."""


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item whose worker died."""

    reason: str


@dataclass(frozen=True)
class Event:
    """Something that a worker reported: which item (its index), which worker, what."""

    index: int
    worker: str
    value: Any


class Workers(Protocol):
    """What runs jobs."""

    def map(self, items: Sequence[Any]) -> Iterator[Event]:
        """Run the job on every item; yields all that the jobs report, in the order in which it comes."""
        ...


def open_workers(config: WorkersConfig, factory: JobFactory) -> AbstractContextManager[Workers]:
    """Start workers that live until the context ends.

    Raises:
        UserError: the cluster lacks the resources or cannot be reached, or a worker cannot load what the job needs.
    """
    return _LocalWorkers(factory) if config.backend == "local" else _RayWorkers(config, factory)


class _LocalWorkers:
    def __init__(self, factory: JobFactory):
        self._factory = factory

    def __enter__(self) -> "Workers":
        self._job = self._factory()
        return self

    def __exit__(self, *_: object) -> None:
        del self._job

    def map(self, items: Sequence[Any]) -> Iterator[Event]:
        for index, item in enumerate(items):
            for value in self._job(item):
                yield Event(index, "local", value)


class _Actor:
    """Lives in a Ray worker process."""

    def __init__(self, factory: JobFactory):
        self._error: str | None = None
        try:
            self._job = factory()
        except UserError as error:
            self._error = str(error)

    def error(self) -> str | None:
        return self._error

    def run(self, item: Any) -> Iterator[Any]:
        # Not `yield from`: Ray sends into the generator, and a job may be any iterator.
        for value in self._job(item):  # noqa: UP028
            yield value


class _RayWorkers:
    """A fixed set of actors; one that dies loses its item and is replaced."""

    def __init__(self, config: WorkersConfig, factory: JobFactory):
        self._config, self._factory = config, factory

    def __enter__(self) -> "Workers":
        self._ray = _start_ray(self._config)
        try:
            self._actor_class = self._ray.remote(_Actor).options(
                num_cpus=self._config.cpus_per_worker, num_gpus=_gpus_per_worker(self._config, self._ray)
            )
            self._factory_ref = _share(self._factory, self._ray)
            del self._factory  # Ray's copy of the data is enough
            self._actors = {f"ray-{i}": self._new_actor() for i in range(self._config.num_workers)}
            for actor in self._actors.values():
                self._await_ready(actor)
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def map(self, items: Sequence[Any]) -> Iterator[Event]:
        waiting = deque(enumerate(items))
        idle = deque(self._actors)
        running: dict[Any, tuple[int, str]] = {}
        while waiting or running:
            while waiting and idle:
                index, item = waiting.popleft()
                name = idle.popleft()
                stream = self._actors[name].run.options(num_returns="streaming").remote(item)
                running[stream] = (index, name)
            (stream, *_), _ = self._ray.wait(list(running), num_returns=1)
            index, name = running[stream]
            try:
                yield Event(index, name, self._ray.get(next(stream)))
                continue
            except StopIteration:
                pass
            except self._ray.exceptions.RayTaskError:
                raise  # a job reports its failures itself: this one is our own bug
            except self._ray.exceptions.RayError as error:  # the process or its node died, or ran out of memory
                yield Event(index, name, Lost(f"the worker died: {str(error).splitlines()[0]}"))
                self._actors[name] = self._new_actor()
                self._await_ready(self._actors[name])
            del running[stream]
            idle.append(name)

    def _new_actor(self) -> Any:
        return self._actor_class.remote(self._factory_ref)

    def _await_ready(self, actor: Any) -> None:
        try:
            error = self._ray.get(actor.error.remote(), timeout=_START_LIMIT_S)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(
                f"workers: a worker did not start within {_START_LIMIT_S:g} s; others use the cluster's CPUs or GPUs, "
                "or they do not fit on its nodes: lower workers.num_workers, cpus_per_worker or gpus_per_worker"
            ) from None
        if error is not None:
            raise UserError(f"a worker cannot start: {error}")


def _share(factory: JobFactory, ray: Any) -> Any:
    """Put what workers need into Ray's object store, whose arrays all workers of a node read in place."""
    try:
        return ray.put(factory)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        raise UserError(
            f"data.root: the images do not fit Ray's object store: {str(error).splitlines()[0]}; free memory, /dev/shm "
            "or disk, start a cluster with a larger --object-store-memory and name it in workers.address, or set "
            "workers.backend: local"
        ) from None


def _probe(address: str) -> None:
    """Fail within seconds where nobody listens at `address`: Ray itself keeps trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"workers.address: nobody listens at {address!r}: {error}") from None


def worker_device(config: WorkersConfig) -> str:
    """`workers.device` as a worker takes it: one that was given no GPU does not look for one."""
    return "cpu" if config.device == "auto" and config.gpus_per_worker == 0 else config.device


def _gpus_per_worker(config: WorkersConfig, ray: Any) -> float:
    """GPUs of each worker; by default all that Ray has, shared evenly (whole ones where there are enough)."""
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    num_gpus = int(ray.cluster_resources().get("GPU", 0)) if config.device != "cpu" else 0
    if num_gpus == 0:
        return 0.0
    if num_gpus >= config.num_workers:
        return float(num_gpus // config.num_workers)
    return 1 / math.ceil(config.num_workers / num_gpus)  # as many on each GPU as on the fullest


def _start_ray(config: WorkersConfig) -> Any:
    """Import Ray and connect: to `address`, or to a cluster of this machine alone that ends with the run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against its warning
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 any other process starves a search on CPUs
    import ray
    import ray.exceptions

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    cpus = config.num_workers * config.cpus_per_worker
    if config.address is None:
        ray.init(address="local", num_cpus=cpus, **quiet)
    else:
        _probe(config.address)
        try:
            ray.init(address=config.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"workers.address: no Ray cluster at {config.address!r} that lets us in: {error}; "
                "where the cluster asks for a token, set RAY_AUTH_MODE=token in this process's environment"
            ) from None
    has = ray.cluster_resources()
    wants = {"CPU": cpus, "GPU": config.num_workers * _gpus_per_worker(config, ray)}
    for resource, amount in wants.items():
        if amount > has.get(resource, 0):
            ray.shutdown()
            key = f"{resource.lower()}s_per_worker"
            raise UserError(
                f"workers: {config.num_workers} workers with {key}: {getattr(config, key)} need "
                f"{amount:g} {resource}s, Ray has {has.get(resource, 0):g}; lower workers.num_workers or workers.{key}"
            )
    return ray
