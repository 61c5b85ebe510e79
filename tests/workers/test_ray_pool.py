"""What a Ray worker finds before it imports torch: its cores, its threads, how memory comes."""

import ctypes
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from evoprune.config import WorkersConfig
from evoprune.workers.dispatch import Lost, dispatch
from evoprune.workers.jobs import Job
from evoprune.workers.pool import open_workers
from evoprune.workers.ray_cluster import session_folder

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_PAGES_ON_REQUEST = "glibc" in platform.libc_ver() and THP.exists() and "[madvise]" in THP.read_text()


@pytest.fixture(scope="module", autouse=True)
def by_value() -> None:
    """Ray workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


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
def test_ray_workers_ask_for_huge_pages_unless_the_user_has_set_otherwise(monkeypatch, own, huge):
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    with open_workers(WorkersConfig(num_workers=1), make_job) as workers:
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
