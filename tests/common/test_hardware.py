"""Cores, GPUs and memory, as the machine and its container have them."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evoprune.common import hardware
from evoprune.common.hardware import available_cpus, available_gpus, cpu_name, gpu_names, release_memory, total_memory

cores = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")


@cores
@pytest.mark.parametrize(
    ("cpu_max", "wanted"),
    [("max 100000\n", 6), ("250000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 6), ("", 6), (None, 6)],
)
def test_a_containers_quota_limits_cores(monkeypatch, tmp_path, cpu_max, wanted):
    if cpu_max is not None:
        (tmp_path / "cpu.max").write_text(cpu_max)
    monkeypatch.setattr(hardware, "_CGROUP_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert available_cpus() == wanted


@cores
def test_a_process_that_is_kept_to_one_core_has_one():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from evoprune.common.hardware import available_cpus; print(available_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_gpus_are_those_that_torch_sees():
    assert available_gpus() == len(gpu_names()) == torch.cuda.device_count()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="this system has no /proc/cpuinfo")
def test_the_cpus_name_is_the_kernels():
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    assert {cpu_name()} == (set(models) or {platform.processor()})


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="another C library")
def test_holes_between_what_is_kept_go_back_to_the_system():
    """200 MB in blocks of 64 kB, too small to be mapped on their own; every 50th is kept, so no large end is free."""
    blocks = [b"x" * (64 << 10) for _ in range(3200)]
    kept = blocks[::50]
    del blocks
    before = resident_mb()
    release_memory()
    assert before - resident_mb() > 100
    assert len(kept) == 64


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="this system says it elsewhere")
def test_memory_is_what_the_system_says():
    kilobytes = int(re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text()).group(1))
    assert total_memory() == pytest.approx(1024 * kilobytes, rel=0.01)
