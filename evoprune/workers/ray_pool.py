"""Workers on Ray: actors, each of which is replaced when it dies; more of them when nodes join."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count, islice
from typing import Any

from evoprune.common.errors import TIME_IS_UP, UserError, reason_of
from evoprune.common.progress import say
from evoprune.config import WorkersConfig
from evoprune.workers.jobs import (
    Died,
    Done,
    Failed,
    JobFactory,
    Raised,
    Report,
    Said,
    Started,
    Workers,
    reporting,
    tidy,
)
from evoprune.workers.ray_cluster import fetch, open_ray, worker_environment
from evoprune.workers.ray_nodes import Nodes
from evoprune.workers.resources import own_cores
from evoprune.workers.versions import Versions, own_versions, version_fault

_START_TRIES = 3  # a machine that is short of memory for a moment must not cost the worker


class _Actor:
    """Lives in a Ray worker process.

    Args:
        versions: of the process that starts it.
        factory: a reference to the job's factory, in a list: Ray would load it before versions are compared.
        cores: of this machine, to keep to; none where that is left to the system.
    """

    def __init__(self, versions: Versions, factory: Sequence[Any], cores: Sequence[int]):
        if cores:
            os.sched_setaffinity(0, cores)  # before torch starts threads, which inherit it
        self._error = version_fault(versions)
        if self._error is not None:
            return
        try:
            self._job = reporting(tidy(fetch(factory[0])()))
        except UserError as error:
            self._error = str(error)

    def error(self) -> str | None:
        return self._error

    def answer(self, question: Callable[[], Any]) -> Any:
        return question()

    def run(self, item: Any) -> Iterator[Any]:
        yield from self._job(item)


class RayWorkers:
    """Actors by their names. A name whose actor dies gets a new one; after some failed starts it is given up."""

    def __init__(self, config: WorkersConfig, factory: JobFactory):
        self._config, self._factory = config, factory
        self._idle: list[str] = []
        self._fresh: set[str] = set()
        self._running: dict[Any, str] = {}
        self._deadlines: dict[Any, float] = {}
        self._starting: dict[Any, tuple[str, float]] = {}
        self._failed_starts: Counter[str] = Counter()
        self._gone: dict[str, str] = {}
        self._actors: dict[str, Any] = {}

    def __enter__(self) -> Workers:
        with ExitStack() as stack:
            self._ray, shape = stack.enter_context(open_ray(self._config))
            own_variables = self._config.runtime_env.get("env_vars", {})
            self._actor_class = self._ray.remote(_Actor).options(
                num_cpus=shape.cpus_per_worker,
                num_gpus=shape.gpus_per_worker,
                runtime_env={"env_vars": {**worker_environment(shape), **own_variables}},
            )
            self._factory_ref = _share(self._factory, self._ray)
            del self._factory  # Ray's copy of the data is enough
            self._cores = own_cores(shape) if self._config.address is None else []
            self._nodes = Nodes(self._ray, self._config, shape)
            self._fill()
            while self.num_starting() or not (self._idle or self._gone):
                self._wait_once()
            if not self._idle:
                raise UserError(f"workers: {self._gone_because()}")
            for reason, number in Counter(self._gone.values()).items():
                say(f"workers: {number} of {len(self._actors)} will not work: {reason}")
            self._idle.sort(key=list(self._actors).index)
            self._opened = stack.pop_all()
        return self

    def _fill(self) -> None:
        """Start workers as long as there is room, under names that nobody has."""
        living = len(self._actors) - len(self._gone)
        free = (name for name in map("ray-{}".format, count()) if name not in self._actors or name in self._gone)
        for name in list(islice(free, max(0, self._nodes.room - living))):
            self._gone.pop(name, None)
            self._failed_starts[name] = 0
            self._start(name)

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def idle(self) -> list[str]:
        """Workers that can begin an item, those that wait longest first."""
        return list(self._idle)

    def num_starting(self) -> int:
        """How many actors are being started that some node has room for."""
        settled = len(self._idle) + len(self._running)
        return min(len(self._starting), max(0, self._nodes.room - settled))

    def is_fresh(self, worker: str) -> bool:
        """Whether a worker has begun no item yet."""
        return worker in self._fresh

    def begin(self, worker: str, item: Any, limit_s: float | None = None) -> None:
        """Have an idle worker run the job on `item`; it is killed and replaced when `limit_s` have passed."""
        self._idle.remove(worker)
        self._fresh.discard(worker)
        stream = self._actors[worker].run.options(num_returns="streaming").remote(item)
        self._running[stream] = worker
        if limit_s is not None:
            self._deadlines[stream] = time.monotonic() + limit_s

    def renew(self, worker: str) -> None:
        """End an idle worker and start a fresh one under its name."""
        self._idle.remove(worker)
        self._ray.kill(self._actors[worker])
        self._start(worker)

    def wait(self) -> Report:
        """Wait until a worker reports something, and replace those that died."""
        while True:
            if report := self._wait_once():
                return report

    def _wait_once(self) -> Report | None:
        """Wait until anything happens, or may have happened; what that is where a worker reports it."""
        if self._nodes.have_joined():
            self._fill()
        if not (self._running or self._starting):
            raise UserError(f"workers: none is left: {self._gone_because()}; the same command goes on from here")
        waited_for = [*self._running, *self._starting]
        ready, _ = self._ray.wait(waited_for, num_returns=1, timeout=self._patience())
        if ready and ready[0] in self._running:
            return self._hear(ready[0])
        report = self._settle(ready[0]) if ready else None
        self._give_up_late_starts()
        return report if ready else self._end_overdue()

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Call a picklable function once in every idle worker; one that is dead is missing."""
        asked = {name: self._actors[name].answer.remote(question) for name in self._idle}
        answers: dict[str, Any] = {}
        for name, answer in asked.items():
            with suppress(self._ray.exceptions.RayActorError):
                answers[name] = self._ray.get(answer)
        return answers

    def _hear(self, stream: Any) -> Report:
        """What a working actor reports."""
        worker = self._running[stream]
        try:
            value = self._ray.get(next(stream))
        except StopIteration:
            self._rest(stream)
            return Done(worker)
        except self._ray.exceptions.RayTaskError as error:  # what the job has yielded could not be sent
            self._rest(stream)
            return Failed(worker, str(error).splitlines()[-1])
        except self._ray.exceptions.RayError as error:  # the process or its node died, or ran out of memory
            self._forget(stream)
            self._nodes.look_soon()
            self._start(worker)
            return Died(worker, reason_of(error))
        if not isinstance(value, Raised):
            return Said(worker, value)
        self._rest(stream)
        return Failed(worker, value.reason)

    def _rest(self, stream: Any) -> None:
        """The worker of a stream is idle."""
        self._idle.append(self._forget(stream))

    def _forget(self, stream: Any) -> str:
        self._deadlines.pop(stream, None)
        return self._running.pop(stream)

    def _end_overdue(self) -> Report | None:
        """End a worker whose item has taken too long, and start another one."""
        now = time.monotonic()
        for stream in [stream for stream, deadline in self._deadlines.items() if deadline <= now]:
            worker = self._forget(stream)
            self._ray.kill(self._actors[worker])
            self._start(worker)
            return Failed(worker, f"{TIME_IS_UP}; the worker did not end by itself, and was ended")
        return None

    def _start(self, worker: str) -> None:
        number = int(worker.removeprefix("ray-"))
        cores = self._cores[number] if self._cores else ()
        self._actors[worker] = self._actor_class.remote(own_versions(), [self._factory_ref], cores)
        deadline = time.monotonic() + self._config.start_limit_s
        self._starting[self._actors[worker].error.remote()] = worker, deadline

    def _settle(self, answer: Any) -> Report | None:
        """What has become of a starting actor; one that died is started again, a few times."""
        worker, _ = self._starting.pop(answer)
        try:
            error = self._ray.get(answer)
        except self._ray.exceptions.RayError as lost:
            self._failed_starts[worker] += 1
            if self._failed_starts[worker] < _START_TRIES:
                self._start(worker)
            else:
                self._gone[worker] = f"a worker died {_START_TRIES} times while it started: {_cause(lost)}"
            return None
        if error is not None:
            self._gone[worker] = f"a worker cannot start: {error}"
            return None
        self._failed_starts[worker] = 0
        self._idle.append(worker)
        self._fresh.add(worker)
        return Started(worker)

    def _patience(self) -> float | None:
        """Seconds until a start is late, an item has taken too long or nodes may have joined; None for no limit."""
        deadlines = [*(deadline for _, deadline in self._starting.values()), *self._deadlines.values()]
        limits = [max(0.0, deadline - time.monotonic()) for deadline in deadlines]
        return min([*limits, *filter(None, [self._nodes.look_every_s])], default=None)

    def _give_up_late_starts(self) -> None:
        for answer, (worker, deadline) in list(self._starting.items()):
            if time.monotonic() >= deadline:
                del self._starting[answer]
                self._ray.kill(self._actors[worker])
                self._gone[worker] = (
                    f"a worker did not start within {self._config.start_limit_s:g} s (workers.start_limit_s); others "
                    "use the cluster's CPUs or GPUs, or they do not fit on the nodes that are left: lower "
                    "workers.num_workers, cpus_per_worker or gpus_per_worker"
                )

    def _gone_because(self) -> str:
        return next(iter(self._gone.values()), "all have ended")


def _cause(error: Exception) -> str:
    """Of an error raised while an actor was made Ray's first line says no more than that; the last one is the error."""
    first, *rest = str(error).splitlines()
    return rest[-1].strip() if rest and "creation task" in first else first


def _share(factory: JobFactory, ray: Any) -> Any:
    """Put what workers need into Ray's object store, whose arrays all workers of a node read in place."""
    try:
        return ray.put(factory)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        raise UserError(
            f"data.root: the images do not fit Ray's object store: {reason_of(error)}; free memory, /dev/shm "
            "or disk, start a cluster with a larger --object-store-memory and name it in workers.address, or set "
            "workers.backend: local"
        ) from None
