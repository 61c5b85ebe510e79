"""Real runs that are told to end: everything measured stays, nothing is left behind, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import write_experiment
from helpers import SLOW_SEARCH, on_one_core, repeated

from evoprune.cli import main
from evoprune.common.processes import Process, descendants, is_alive, name_of
from evoprune.common.signals import PATIENCE_S

LIMIT_S = 15.0
ENDLESS_SEARCH = {**SLOW_SEARCH, "search": {"generations": 100}}
STAGES = {
    "base": ({"base": {"epochs": 1000}}, ".ckpt"),
    "start of Ray": ({}, "evoprune-ray"),
    "search": (ENDLESS_SEARCH, "reports.csv"),
    "sensitivity": ({"search": {"sensitivity": "measured"}, "evaluation": {"recalibration_images": 1200}}, "prior.csv"),
}


class Run:
    """A command in a process of its own, on the run in `folder`."""

    def __init__(self, folder: Path, words: list[str], backend: str):
        self.path, self._log = folder / "run", folder / "log.txt"
        self.temporary = Path(tempfile.mkdtemp(prefix="e-", dir="/tmp"))  # Ray needs a short path
        workers = f"workers={{backend: {backend}, num_workers: 1}}"
        command = [sys.executable, "-m", "evoprune.cli", *words, "--set", workers]
        environment = {**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, preexec_fn=on_one_core
            )
        self.children: set[Process] = set()

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, sign: str) -> None:
        """Until the run has a file of that ending, two rows in the table of that name, or a folder of Ray's."""
        deadline = time.monotonic() + 240
        while not self._shows(sign):
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def _shows(self, sign: str) -> bool:
        if sign == "evoprune-ray":
            return any(self.temporary.glob("evoprune-ray-*"))
        if sign == ".ckpt":
            return any(self.path.parent.rglob("*.ckpt"))
        return any(table.read_bytes().count(b"\n") >= 3 for table in self.path.rglob(sign))

    def signal(self, name: str) -> None:
        self.children = descendants()
        self.process.send_signal(getattr(signal, name))

    def end(self) -> tuple[int, float]:
        """The exit status, and after how many seconds it came."""
        started = time.monotonic()
        return self.process.wait(timeout=60), time.monotonic() - started


@pytest.fixture
def runs(cache: Path, tmp_path: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        run.process.kill()
        run.process.wait()
        shutil.rmtree(run.temporary)


def start(runs: list[Run], folder: Path, backend: str, **changes: object) -> Run:
    folder.mkdir(exist_ok=True)
    runs.append(Run(folder, ["run", write_experiment(folder, **changes), "--out", str(folder / "run")], backend))
    return runs[-1]


def check_a_signal_ends(run: Run, name: str) -> None:
    """In order and soon, and nothing of what is measured is lost."""
    rows = {path: path.read_bytes() for path in run.path.rglob("*.csv")}
    run.signal(name)
    status, seconds = run.end()
    assert (status, seconds < LIMIT_S) == (75, True), run.said
    assert f"evoprune: stopped by {name}; the same command goes on from here" in run.said
    assert "Traceback" not in run.said
    check_nothing_is_left(run)
    assert all(path.read_bytes().startswith(before) for path, before in rows.items())


def check_nothing_is_left(run: Run) -> None:
    left = [process for process in run.children if is_alive(process)]
    assert left == []
    assert list(run.temporary.glob("evoprune-ray*")) == [] and not list(run.path.rglob("*.part"))


@pytest.mark.parametrize(
    ("backend", "stage", "name"),
    [
        *(("local", "base", "SIGTERM"), ("ray", "start of Ray", "SIGTERM"), ("local", "sensitivity", "SIGHUP")),
        *(("local", "search", "SIGUSR1"), ("ray", "search", "SIGUSR1")),
    ],
)
def test_a_signal_ends_a_stage_and_the_same_command_goes_on(tmp_path, cache, runs, backend, stage, name):
    changes, sign = STAGES[stage]
    kept = tmp_path / "here" / "cache" if stage == "base" else cache
    run = start(
        runs, tmp_path / "here", backend, **{**changes, "base": {**changes.get("base", {}), "cache": str(kept)}}
    )
    run.wait_for(sign)
    check_a_signal_ends(run, name)


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_a_signal_ends_full_trainings(tmp_path, ran, runs, backend):
    shutil.copytree(ran, tmp_path / "run")
    words = ["retrain", str(tmp_path / "run"), "--set", "retrain.epochs=1000"]
    runs.append(Run(tmp_path, words, backend))
    runs[0].wait_for(".ckpt")
    check_a_signal_ends(runs[0], "SIGINT")


def test_a_lost_process_of_ray_ends_the_run_and_the_same_command_goes_on(tmp_path, cache, runs):
    run = start(runs, tmp_path / "here", "ray", base={"cache": str(cache)}, **ENDLESS_SEARCH)
    run.wait_for("reports.csv")
    run.children = {process for process in descendants() if is_alive(process)}
    (raylet,) = (process.pid for process in run.children if name_of(process) == "raylet")
    os.kill(raylet, signal.SIGKILL)
    status, seconds = run.end()
    assert (status, seconds < LIMIT_S) == (75, True), run.said
    assert "Ray's process raylet has ended, as where memory is short; the same command goes on from here" in run.said
    assert "Traceback" not in run.said
    check_nothing_is_left(run)


def test_a_stopped_search_ends_as_one_that_was_not(tmp_path, cache, slow_run, runs):
    stopped = start(runs, tmp_path / "stopped", "ray", base={"cache": str(cache)}, **SLOW_SEARCH)
    stopped.wait_for("reports.csv")
    stopped.signal("SIGTERM")
    assert stopped.end()[0] == 75, stopped.said
    assert "***" not in stopped.said, "a handler of Ray's has seen the signal"
    assert main(["run", str(tmp_path / "stopped" / "tiny.yaml"), "--out", str(stopped.path)]) == 0
    for table in ("reports.csv", "output.csv"):
        assert repeated(stopped.path, table) == repeated(slow_run, table)


def test_a_second_signal_ends_at_once(tmp_path, cache, runs):
    """The process is in a loop that does not end, as in a call of C that takes no notice of signals."""
    script = (
        "import time, sys\nfrom evoprune.common.signals import stop_on_signals, deferred\n"
        "with stop_on_signals(), deferred():\n    print('in', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 75
        assert process.stderr.read() == b"evoprune: ended at once; the same command goes on from here\n"
    assert PATIENCE_S < LIMIT_S, "without a second one the process ends then"


def test_who_does_not_end_by_itself_is_ended_and_says_only_that(tmp_path):
    """Also where a thread waits for a process that is ended with it."""
    script = (
        "import subprocess, threading, time\nfrom evoprune.common import signals\nsignals.PATIENCE_S = 1.0\n"
        "threading.Thread(target=subprocess.run, args=(['sleep', '600'],), kwargs={'check': True}).start()\n"
        "with signals.stop_on_signals(), signals.deferred():\n    print('in', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 75
        assert process.stderr.read() == b"evoprune: stopped by SIGTERM; the same command goes on from here\n"
