"""Runs jobs in this process or on Ray: the same items, the same results, whoever does the work."""

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol

from evoprune.compute import release_memory
from evoprune.config import Experiment, WorkersConfig
from evoprune.errors import UserError
from evoprune.worker_shape import Shape, make_shape, own_cores, this_machine, worker_facts

_START_LIMIT_S = 900.0
_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # asked for by madvise; other C libraries do not read it
_RELEASE_EVERY_S = 10.0  # what is given back is fetched again, at about 0.1 s

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

    def map(self, items: Iterable[Any]) -> Iterator[Event]:
        """Run the job on every item; yields all that the jobs report, in the order in which it comes.

        Args:
            items: one is taken when a worker is idle, and not before, so that a generator may decide late from what
                was reported until then. None says "nothing for now": the next one is taken after the next report, and
                where no item is being worked on it is the end.
        """
        ...

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call a picklable function once in every worker; its answers by the workers' names."""
        ...


def open_workers(config: WorkersConfig, factory: JobFactory) -> AbstractContextManager[Workers]:
    """Start workers that live until the context ends.

    Raises:
        UserError: the cluster lacks the resources or cannot be reached, or a worker cannot load what the job needs.
    """
    return _LocalWorkers(factory) if config.backend == "local" else _RayWorkers(config, factory)


def describe_workers(workers: Workers, experiment: Experiment) -> list[dict[str, Any]]:
    """What the workers are, for `run.json`: each different device, precision and threads, with how many have it."""
    answers = workers.ask(partial(worker_facts, experiment)).values()
    kinds = Counter(tuple(answer.items()) for answer in answers)
    return [{**dict(kind), "workers": number} for kind, number in kinds.items()]


def _tidy(job: Job) -> Job:
    """The same job, which now and then, after an item, gives back the memory that items have freed."""
    released = time.monotonic()

    def tidy(item: Any) -> Iterator[Any]:
        nonlocal released
        # Not `yield from`: Ray sends into the generator, and a job may be any iterator.
        for value in job(item):  # noqa: UP028
            yield value
        if time.monotonic() - released > _RELEASE_EVERY_S:
            release_memory()
            released = time.monotonic()

    return tidy


class _LocalWorkers:
    def __init__(self, factory: JobFactory):
        self._factory = factory

    def __enter__(self) -> "Workers":
        self._job = _tidy(self._factory())
        return self

    def __exit__(self, *_: object) -> None:
        del self._job

    def map(self, items: Iterable[Any]) -> Iterator[Event]:
        source, indices = iter(items), count()
        while (item := next(source, None)) is not None:
            index = next(indices)
            for value in self._job(item):
                yield Event(index, "local", value)

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        return {"local": question()}


class _Actor:
    """Lives in a Ray worker process."""

    def __init__(self, factory: JobFactory, cores: Sequence[int]):
        if cores:
            os.sched_setaffinity(0, cores)  # before torch starts threads, which inherit it
        self._error: str | None = None
        try:
            self._job = _tidy(factory())
        except UserError as error:
            self._error = str(error)

    def error(self) -> str | None:
        return self._error

    def answer(self, question: Callable[[], Any]) -> Any:
        return question()

    def run(self, item: Any) -> Iterator[Any]:
        yield from self._job(item)


class _RayWorkers:
    """A fixed set of actors; one that dies loses its item and is replaced."""

    def __init__(self, config: WorkersConfig, factory: JobFactory):
        self._config, self._factory = config, factory

    def __enter__(self) -> "Workers":
        self._ray, shape = _start_ray(self._config)
        try:
            self._actor_class = self._ray.remote(_Actor).options(
                num_cpus=shape.cpus_per_worker,
                num_gpus=shape.gpus_per_worker,
                runtime_env={"env_vars": _environment(shape)},
            )
            self._factory_ref = _share(self._factory, self._ray)
            del self._factory  # Ray's copy of the data is enough
            cores = own_cores(shape) if self._config.address is None else [()] * shape.num_workers
            self._cores = {f"ray-{i}": own for i, own in enumerate(cores)}
            self._actors = {name: self._new_actor(name) for name in self._cores}
            for actor in self._actors.values():
                self._await_ready(actor)
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def map(self, items: Iterable[Any]) -> Iterator[Event]:
        source, indices = iter(items), count()
        idle = deque(self._actors)
        running: dict[Any, tuple[int, str]] = {}
        while True:
            while idle and (item := next(source, None)) is not None:
                name = idle.popleft()
                stream = self._actors[name].run.options(num_returns="streaming").remote(item)
                running[stream] = (next(indices), name)
            if not running:
                return
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
                self._actors[name] = self._new_actor(name)
                self._await_ready(self._actors[name])
            del running[stream]
            idle.append(name)

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        answers = [actor.answer.remote(question) for actor in self._actors.values()]
        return dict(zip(self._actors, self._ray.get(answers), strict=True))

    def _new_actor(self, name: str) -> Any:
        return self._actor_class.remote(self._factory_ref, self._cores[name])

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


def _environment(shape: Shape) -> dict[str, str]:
    """What must stand in a worker's environment before it imports torch."""
    threads = str(shape.cpus_per_worker)  # else the libraries start as many threads as the machine has cores
    # Feature maps are megabytes that come and go with every layer: small pages took 3 to 7 % of the time.
    malloc = ":".join(filter(None, [_HUGE_PAGES, os.environ.get("GLIBC_TUNABLES")]))  # of two values the last counts
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLIBC_TUNABLES": malloc}


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


def _start_ray(config: WorkersConfig) -> tuple[Any, Shape]:
    """Import Ray and connect: to `address`, or to a cluster of this machine alone that ends with the run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against its warning
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15 any other process starves a search on CPUs
    import ray
    import ray.exceptions

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
