"""Trials of `chaos.py`: each does one harm to a run of its own and returns what came out wrong, or nothing."""

import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import yaml
from benchmark_tools import ray_workers
from chaos_files import DAMAGES, FILES, spoilt

from evoprune.cli import main
from evoprune.common.processes import descendants, is_alive
from evoprune.config import WorkersConfig, load_experiment
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare
from evoprune.stages.search import search
from evoprune.workers.jobs import Job, JobFactory
from evoprune.workers.pool import open_workers

Fault = str | None
LOCAL, RAY = "workers={backend: local}", "workers={backend: ray, num_workers: 2, retries: 1}"
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
LIMIT_S, SIGNAL_LIMIT_S = 600.0, 15.0
UNLIKE = ["seconds", "worker", "model", "check"]


@dataclass(frozen=True)
class Arena:
    """Where trials take place.

    Attributes:
        folder: of all their files.
        file: the experiment.
        whole: a run of it to which nothing was done.
        rng: what is drawn in a trial comes from it.
    """

    folder: Path
    file: Path
    whole: Path
    rng: random.Random


def results(run: Path) -> dict[str, Any]:
    """What two runs of one experiment have in common: tables without times, and weights."""
    tables = {name: pd.read_csv(run / name, dtype=str) for name in ("reports.csv", "output.csv")}
    found: dict[str, Any] = {
        name: table.drop(columns=UNLIKE, errors="ignore").to_csv(index=False) for name, table in tables.items()
    }
    return found | {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("model.safetensors")}


def num_rows(run: Path) -> int:
    table = run / "reports.csv"
    return table.read_bytes().count(b"\n") - 1 if table.is_file() else 0


@contextmanager
def started(arena: Arena, run: Path, backend: str) -> Iterator[tuple[subprocess.Popen, Path]]:
    """`evoprune run` in a process of its own; also yields the folder of its temporary files."""
    words = [sys.executable, "-m", "evoprune.cli", "run", str(arena.file), "--out", str(run), "--set", backend]
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        environment = {**os.environ, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"}
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(words, env=environment, **output) as process:
            try:
                yield process, Path(temporary)
            finally:
                process.kill()


def wait_somewhere(arena: Arena, process: subprocess.Popen, run: Path, most_rows: int = 12) -> None:
    """Until the run has a random number of rows, and a moment longer; or until it ends."""
    wanted, deadline = arena.rng.randint(0, most_rows), time.monotonic() + LIMIT_S
    while num_rows(run) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(arena.rng.uniform(0, 3.0 if wanted in (0, most_rows) else 0.3))


def differs(arena: Arena, run: Path) -> Fault:
    return None if results(run) == results(arena.whole) else "tables or weights differ"


def finish(arena: Arena, run: Path, backend: str = LOCAL) -> Fault:
    """The same command again, which is to end with what a run has that nothing was done to."""
    with started(arena, run, backend) as (process, _):
        status = process.wait(LIMIT_S)
    return f"the same command ended with {status}" if status else differs(arena, run)


def kill_run(arena: Arena, run: Path) -> Fault:
    with started(arena, run, LOCAL) as (process, _):
        wait_somewhere(arena, process, run)
        process.kill()
    return finish(arena, run)


def kill_worker(arena: Arena, run: Path) -> Fault:
    with started(arena, run, RAY) as (process, _):
        wait_somewhere(arena, process, run, most_rows=8)
        workers: list[int] = []
        while not workers and process.poll() is None:
            workers = ray_workers()
        if not workers:
            return "no worker was there to kill"
        os.kill(arena.rng.choice(workers), signal.SIGKILL)
        status = process.wait(LIMIT_S)
    return f"status {status}" if status else differs(arena, run)


def send_signal(arena: Arena, run: Path) -> Fault:
    backend, name = arena.rng.choice((LOCAL, RAY)), arena.rng.choice(SIGNALS)
    with started(arena, run, backend) as (process, temporary):
        wait_somewhere(arena, process, run)
        children, sent = descendants(), time.monotonic()
        process.send_signal(getattr(signal, name))
        status = process.wait(LIMIT_S)
        seconds = time.monotonic() - sent
        left = [*filter(is_alive, children), *temporary.glob("evoprune-ray*"), *run.rglob("*.part")]
    if status not in (0, 75, -getattr(signal, name)):
        return f"{name}: status {status}"
    if status < 0 and run.exists():
        return f"{name} ended the process without a word"  # before Python has read the package it may
    if seconds > SIGNAL_LIMIT_S or left:
        return f"{name}: {seconds:.0f} s, left: {left}"
    return finish(arena, run)


def lose_candidate(arena: Arena, run: Path) -> Fault:
    """A candidate of the first generation kills its worker each time; later one is no longer deadly."""
    first = pd.read_csv(arena.whole / "reports.csv").query("generation == 0")
    doomed = arena.rng.choice(first.code.tolist())
    experiment = load_experiment(str(arena.file), [RAY])
    with open_run_folder(run, experiment) as folder:
        context = Context(experiment, folder)
        prepare(context)
        search(context, partial(open_deadly, doomed))
    rows = pd.read_csv(run / "reports.csv")
    if set(rows.status[rows.code == doomed]) != {"lost"} or set(rows.status[rows.code != doomed]) != {"ok"}:
        return f"statuses: {rows.status.tolist()}"
    if status := main(["run", str(arena.file), "--out", str(run)]):
        return f"the same command ended with {status}"
    return None if set(pd.read_csv(run / "reports.csv").status) == {"ok"} else "it was not measured again"


def open_deadly(doomed: str, config: WorkersConfig, factory: JobFactory) -> Any:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    return open_workers(config, partial(deadly_factory, factory, doomed))


def deadly_factory(factory: JobFactory, doomed: str) -> Job:
    job = factory()

    def deadly_job(item: Any) -> Iterator[Any]:
        if doomed in item.codes:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from job(item)

    return deadly_job


def damage_file(arena: Arena, run: Path) -> Fault:
    shutil.copytree(arena.whole, run)
    name, damage = arena.rng.choice(FILES), arena.rng.choice(list(DAMAGES))
    damaged = run / name.replace("KEY", next((run / "models").iterdir()).name)
    DAMAGES[damage](damaged)
    good = {path: path.read_bytes() for path in run.rglob("model.safetensors") if path.is_file() and path != damaged}
    status, said = spoken(["run", str(arena.file), "--out", str(run)])
    what = f"{name}, {damage}: "
    if any(not path.is_file() or path.read_bytes() != before for path, before in good.items()):
        return f"{what}what was good has changed"
    if status == 0:
        return (fault := differs(arena, run)) and what + fault
    is_named = str(damaged) in said or str(damaged.parent) in said
    is_right = status == 2 and is_one_message(said) and is_named
    return None if is_right else f"{what}status {status}, {said[-300:]}"


def write_bad_file(arena: Arena, run: Path) -> Fault:
    run.mkdir()
    file, text = run / "bad.yaml", spoilt(yaml.safe_load(arena.file.read_text()), arena.rng)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    began = time.process_time()
    with mock.patch("evoprune.stages.pipeline._estimated", lambda context: ""):  # it trains, where all is right
        status, said = spoken(["validate", str(file)])
    seconds = time.process_time() - began
    is_right = status == 0 or (status == 2 and is_one_message(said))
    return None if is_right and seconds < 10 else f"status {status}, {seconds:.0f} s, {said[-300:]}: {text[:300]}"


def spoken(words: list[str]) -> tuple[Any, str]:
    """The exit status of a command in this process, and what it says on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            return main(words), said.getvalue()
        except Exception as error:
            return repr(error), said.getvalue()


def is_one_message(said: str) -> bool:
    lines = [line for line in said.splitlines() if line.startswith("evoprune: ")]
    return len(lines) == 1 and "Traceback" not in said and "\x1b" not in said
