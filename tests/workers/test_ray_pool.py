"""What a Ray worker finds before it imports torch: its cores, its threads, how memory comes."""

import ctypes
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT

from evoprune import UserError
from evoprune.config import WorkersConfig
from evoprune.data.tensors import to_split
from evoprune.workers.dispatch import Lost, dispatch
from evoprune.workers.jobs import Job
from evoprune.workers.pool import open_workers
from evoprune.workers.ray_cluster import session_folder
from evoprune.workers.versions import own_versions

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_PAGES_ON_REQUEST = "glibc" in platform.libc_ver() and THP.exists() and "[madvise]" in THP.read_text()


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def one_worker(ray_address: str) -> WorkersConfig:
    """On a cluster that is there; some of these tests start their own."""
    return WorkersConfig(address=ray_address, num_workers=1)


def make_job() -> Job:
    return die


def die(item: object) -> Iterator[object]:
    os._exit(1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin")
def test_workers_that_fill_the_machine_keep_to_their_own_cores_also_when_replaced():
    cores = sorted(os.sched_getaffinity(0))
    config = WorkersConfig(num_workers=len(cores))
    wanted = {f"ray-{i}": ({core}, "1", "1") for i, core in enumerate(cores)}
    with open_workers(config, make_job) as workers:
        assert workers.ask(placement) == wanted
        (event,) = dispatch(workers, ["deadly"], retries=0)
        assert isinstance(event.value, Lost)
        while workers.num_starting():
            workers.wait()
        assert workers.ask(placement) == wanted


def placement() -> tuple[set[int], str | None, str | None]:
    return os.sched_getaffinity(0), os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS")


@pytest.mark.skipif(
    not HUGE_PAGES_ON_REQUEST, reason="this system hands out huge pages always or never, or its C library is not glibc"
)
@pytest.mark.parametrize(("own", "huge"), [(None, True), ("glibc.malloc.hugetlb=0", False)])
def test_ray_workers_ask_for_huge_pages_unless_the_user_has_set_otherwise(one_worker, monkeypatch, own, huge):
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    with open_workers(one_worker, make_job) as workers:
        assert set(workers.ask(large_block_in_huge_pages).values()) == {huge}


def large_block_in_huge_pages() -> bool:
    """Whether 64 MB from malloc lie in a mapping with the flag that madvise(MADV_HUGEPAGE) sets."""
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    address = malloc(ctypes.c_size_t(64 << 20)) + (32 << 20)
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(mapping[1], 16) <= address < int(mapping[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError("the block is in no mapping")


def test_what_ray_writes_is_gone_when_it_ends_and_what_dead_processes_left_too(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as parent:  # Ray needs a short path
        monkeypatch.setattr(tempfile, "tempdir", parent)
        left, mine = Path(parent) / "evoprune-ray-left", Path(parent) / "mine"
        left.mkdir(), mine.mkdir()
        with session_folder() as other:
            (Path(other) / "file").touch()
            with open_workers(WorkersConfig(num_workers=1), make_job):
                (own,) = set(Path(parent).glob("evoprune-ray-*")) - {Path(other)}
                assert any(own.glob("session_*")), "Ray works in it"
            assert (Path(other) / "file").exists(), "its process lives"
        assert list(Path(parent).iterdir()) == [mine]


OTHERS = {"Python": "3.9.1", "evoprune": "0.0.7"}
BOTH = (
    rf"the worker on .+ has Python {platform.python_version()} and evoprune [0-9.]+, "
    r"this process has Python 3\.9\.1 and evoprune 0\.0\.7; install"
)


class Unreadable:
    """A factory as another version would have made it: it cannot be read here."""

    def __reduce__(self) -> tuple[object, ...]:
        return (getattr, (os, "of_another_version"))

    def __call__(self) -> Job:
        return die


def test_a_worker_of_other_versions_is_refused_before_it_reads_anything(one_worker, monkeypatch):
    monkeypatch.setattr("evoprune.workers.ray_pool.own_versions", lambda: OTHERS)
    with pytest.raises(UserError, match=BOTH):
        open_workers(one_worker, Unreadable()).__enter__()


def test_a_run_begins_where_one_worker_has_started_and_says_why_others_have_not(ray_address, monkeypatch, capsys):
    versions = iter([OTHERS, own_versions()])
    monkeypatch.setattr("evoprune.workers.ray_pool.own_versions", lambda: next(versions))
    with open_workers(WorkersConfig(address=ray_address, num_workers=2), make_mixed_job) as workers:
        assert workers.idle() == ["ray-1"]
        assert [event.value for event in dispatch(workers, [0, 1])] == [0, 1]
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(f"workers: 1 of 2 will not work: a worker cannot start: {BOTH}", said)


def test_a_late_worker_of_other_versions_ends_the_run_only_where_it_is_the_last(ray_address, monkeypatch):
    with open_workers(WorkersConfig(address=ray_address, num_workers=2), make_mixed_job) as workers:
        monkeypatch.setattr("evoprune.workers.ray_pool.own_versions", lambda: OTHERS)
        events = list(dispatch(workers, ["die", *range(9)], retries=0))
        assert sorted(event.value for event in events if not isinstance(event.value, Lost)) == list(range(9))
        while workers.num_starting():
            time.sleep(0.1)
            list(dispatch(workers, [0]))
        assert len(workers.idle()) == 1
        with pytest.raises(UserError, match=f"workers: none is left: a worker cannot start: {BOTH}"):
            list(dispatch(workers, ["die", 1], retries=1))


def fail_to_start() -> Job:
    raise RuntimeError("no disk")


def test_why_no_worker_starts_is_said_in_one_line(one_worker):
    message = r"^workers: a worker died 3 times while it started: RuntimeError: no disk$"
    with pytest.raises(UserError, match=message):
        open_workers(one_worker, fail_to_start).__enter__()


def start_for_ever() -> Job:
    time.sleep(600)
    return die


def test_a_run_waits_for_its_workers_as_long_as_it_is_told_to(one_worker):
    started = time.monotonic()
    with pytest.raises(UserError, match=r"a worker did not start within 2 s \(workers.start_limit_s\)"):
        open_workers(one_worker.model_copy(update={"start_limit_s": 2.0}), start_for_ever).__enter__()
    assert time.monotonic() - started < 60


def make_mixed_job() -> Job:
    return mixed_job


def mixed_job(item: object) -> Iterator[object]:
    if item == "die":
        os._exit(1)
    yield item


def test_the_runtime_environment_is_passed_to_ray_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the worker is in another folder
    (tmp_path / "of_the_user.py").write_text("NUMBER = 7")
    environment = {"env_vars": {"OF_THE_USER": "8", "OMP_NUM_THREADS": "3"}, "working_dir": str(tmp_path)}
    with open_workers(WorkersConfig(num_workers=1, runtime_env=environment), make_job) as workers:
        assert workers.ask(what_the_user_gave) == {"ray-0": (7, "8", "3", "1")}


def what_the_user_gave() -> tuple[object, ...]:
    from of_the_user import NUMBER

    return NUMBER, *(os.environ[name] for name in ("OF_THE_USER", "OMP_NUM_THREADS", "MKL_NUM_THREADS"))


@pytest.mark.parametrize("environment", [{"env_vars": {"A": 1}}, {"working_dir": "/no/such/folder"}, {"pip": 3}])
def test_what_ray_does_not_take_is_named(environment):
    with pytest.raises(UserError, match=r"workers\.runtime_env: Ray does not take .*"):
        open_workers(WorkersConfig(num_workers=1, runtime_env=environment), make_job).__enter__()


def test_ray_that_does_not_start_is_one_message(monkeypatch):
    """As on a machine that is too busy: Ray gives its processes 30 seconds."""
    import ray

    def busy(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.setattr(ray, "init", busy)
    message = r"^workers: Ray did not start on this machine: The current node timed out during startup\.; where "
    with pytest.raises(UserError, match=message):
        open_workers(WorkersConfig(num_workers=1), make_job).__enter__()


STRANGER = """
import os, subprocess, sys
from evoprune.config import WorkersConfig
from evoprune.workers.ray_cluster import open_ray
with open_ray(WorkersConfig(backend="ray", num_workers=1)) as (ray, _):
    script = f"import ray; ray.init(address={ray.get_runtime_context().gcs_address!r}); print('in')"
    for token in ({"RAY_AUTH_TOKEN": "0" * 64}, {}):
        environment = {**os.environ, **token}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        print("in" if done.stdout.endswith("in\\n") else "refused")
"""


def test_a_cluster_that_a_run_starts_lets_in_who_has_its_token():
    """Ray listens on the network."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", STRANGER], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["refused", "in"], done.stderr


def make_sharing_job(images: np.ndarray) -> Job:
    """A factory that carries images; its job says how its process holds them and how much memory is its own, in MB."""
    split = to_split((images, np.zeros(len(images), np.int64)), torch.device("cpu"))
    status = Path("/proc/self/status").read_text()
    private_mb = int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024

    def job(item: int) -> Iterator[object]:
        total = int(images[::1000].sum())
        yield images.flags.writeable, np.shares_memory(split.images.numpy(), images), total, private_mb

    return job


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_workers_share_images_without_a_copy_of_their_own():
    images = np.ones((50_000, 64, 64, 3), np.uint8)  # 600 MB: more than a worker needs for itself
    with open_workers(WorkersConfig(backend="ray", num_workers=2), partial(make_sharing_job, images)) as workers:
        events = list(dispatch(workers, [0, 1, 2, 3]))
    assert {event.worker for event in events} == {"ray-0", "ray-1"}
    for writeable, shared, total, private_mb in (event.value for event in events):
        assert (writeable, shared, total) == (False, True, 50 * 64 * 64 * 3)
        assert private_mb < 500, "a copy of its own"
