"""Experiments as batch jobs: signalled, killed and started again by a stand-in for the scheduler."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands import write_experiment
from helpers import ROOT, SLOW_SEARCH, on_one_core, repeated

STAND_INS = {
    "scontrol": '[[ $1 == show ]] && echo 127.0.0.1 || echo "$*" >> "$(dirname "$0")/asked"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',  # on the one node that there is
}
GRACE_S, LIMIT_S = 60.0, 300.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Scheduler:
    """Starts a batch script, signals the script alone, and kills all of the job when the time of grace is over."""

    def __init__(self, folder: Path, script: str, file: str):
        self.run, self._asked = folder / "run", folder / "asked"
        for name, text in STAND_INS.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (folder / name).chmod(0o755)
        self._words = ["bash", str(ROOT / "experiments" / "slurm" / script), file, "--out", str(self.run)]
        path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        job = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}
        self._temporary = tempfile.mkdtemp(prefix="e-", dir="/tmp")  # Ray needs a short path
        ray = {"RAY_PORT": str(free_port()), "RAY_TMPDIR": self._temporary}
        self._environment = {**os.environ, **job, **ray, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    @property
    def asked(self) -> list[str]:
        """What the job has asked the scheduler for."""
        return self._asked.read_text().splitlines() if self._asked.exists() else []

    def start(self, name: str | None = None, rows: int = 0) -> int:
        """Start the job; signal it once its table has that many rows. Returns the exit status."""
        with subprocess.Popen(
            self._words, env=self._environment, cwd=ROOT, preexec_fn=on_one_core, start_new_session=True
        ) as job:
            try:
                if name is None:
                    return job.wait(LIMIT_S)
                self._wait(job, rows)
                if name == "SIGKILL":
                    return self._end(job)
                job.send_signal(getattr(signal, name))
                return job.wait(GRACE_S)
            finally:
                self._end(job)

    def start_until(self, sign: Path, name: str) -> int:
        """Start the job where no environment hides the stand-ins, and signal it as soon as a file is there."""
        with subprocess.Popen(self._words, env=self._environment, cwd=sign.parent, start_new_session=True) as job:
            try:
                deadline = time.monotonic() + GRACE_S
                while not sign.exists():
                    assert job.poll() is None and time.monotonic() < deadline
                    time.sleep(0.05)
                job.send_signal(getattr(signal, name))
                return job.wait(GRACE_S)
            finally:
                self._end(job)

    def _wait(self, job: subprocess.Popen, rows: int) -> None:
        table, deadline = self.run / "reports.csv", time.monotonic() + LIMIT_S
        while not (table.exists() and table.read_bytes().count(b"\n") > rows):
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    def _end(self, job: subprocess.Popen) -> int:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        for left in Path(self._temporary).glob("*"):
            shutil.rmtree(left, ignore_errors=True)
        return job.wait(LIMIT_S)


@pytest.mark.parametrize("script", ["run.sh", "cluster.sh"])
def test_a_job_that_is_stopped_again_and_again_ends_as_one_that_is_not(tmp_path, cache, slow_run, script):
    backend = "ray" if script == "cluster.sh" else "local"
    workers = {"backend": backend, "num_workers": 1}
    file = write_experiment(tmp_path, base={"cache": str(cache)}, workers=workers, **SLOW_SEARCH)
    scheduler = Scheduler(tmp_path, script, file)
    assert scheduler.start("SIGUSR1", rows=2) == 75
    assert scheduler.asked == ["requeue 17"]
    if script == "run.sh":
        assert scheduler.start("SIGKILL", rows=6) == -signal.SIGKILL, "its machine is gone"
    assert scheduler.start() == 0
    assert scheduler.asked == ["requeue 17"]
    for table in ("reports.csv", "output.csv"):
        assert repeated(scheduler.run, table) == repeated(slow_run, table)


def test_a_job_that_is_cancelled_is_not_queued_again(tmp_path, cache):
    scheduler = Scheduler(tmp_path, "run.sh", write_experiment(tmp_path, base={"cache": str(cache)}, **SLOW_SEARCH))
    assert scheduler.start("SIGTERM", rows=1) == 75
    assert scheduler.asked == []


@pytest.mark.parametrize(("name", "asked"), [("SIGUSR1", ["requeue 17"]), ("SIGTERM", [])])
def test_a_job_whose_cluster_never_starts_ends_in_order(tmp_path, name, asked):
    scheduler = Scheduler(tmp_path, "cluster.sh", "nothing.yaml")
    ray = tmp_path / "ray"
    ray.write_text(
        '#!/usr/bin/env bash\n[[ $1 == status ]] && { touch "$(dirname "$0")/asked_ray"; exit 1; }\nexec sleep 600\n'
    )
    ray.chmod(0o755)
    assert scheduler.start_until(tmp_path / "asked_ray", name) == 75
    assert scheduler.asked == asked


def test_a_batch_job_passes_on_how_its_command_ended(tmp_path):
    assert Scheduler(tmp_path, "run.sh", "nothing.yaml").start() == 2
