"""Cores and precision, as the machine and its container have them."""

import os
import platform
from pathlib import Path

import pytest
import torch

from evoprune import compute
from evoprune.common.hardware import release_memory
from evoprune.networks.device import make_compute

cores = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
available_cpus = compute.available_cpus  # the suite's own fixture replaces it by one core


@cores
@pytest.mark.parametrize(
    ("cpu_max", "wanted"),
    [("max 100000\n", 6), ("250000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 6), ("", 6), (None, 6)],
)
def test_a_containers_quota_limits_cores(monkeypatch, tmp_path, cpu_max, wanted):
    if cpu_max is not None:
        (tmp_path / "cpu.max").write_text(cpu_max)
    monkeypatch.setattr(compute, "_CGROUP_CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert available_cpus() == wanted


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx512_bf16"}, "bf16"),
        ({"amx_bf16", "amx_tile"}, "bf16"),
        ({"avx512_f", "avx2", "amx_tile"}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_cpu_has_it(monkeypatch, flags, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True for name in flags}, raising=False)
    assert make_compute("cpu", "auto").precision == precision
    assert make_compute("cpu", "fp32").precision == "fp32"
    assert make_compute("cpu", "bf16").precision == "bf16"


def test_auto_agrees_with_what_the_kernel_says_of_this_cpu():
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith("flags")).split()
    except (OSError, StopIteration):
        pytest.skip("this kernel lists no flags")
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert make_compute("cpu", "auto").bf16 == native


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
