"""What this machine has: cores, GPUs, memory. torch is imported when somebody asks for GPUs, and not before."""

import ctypes
import os
import platform
import sys
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def cpu_name() -> str:
    """The model of this machine's CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def available_cpus() -> int:
    """Whole cores that this process may use: its affinity, and what its container's quota comes to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_cpus(_CGROUP_CPU_MAX)))


def _cgroup_cpus(cpu_max: Path) -> int:
    """Cores of a cgroup v2 quota (`QUOTA PERIOD` in microseconds, or `max PERIOD`); no limit where there is no file."""
    try:
        quota, period = cpu_max.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError):
        return sys.maxsize


def available_gpus() -> int:
    """GPUs that this process may use."""
    return len(gpu_names())


def gpu_names() -> list[str]:
    """The models of the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(index) for index in range(count)]


def release_memory() -> None:
    """Give memory that is free inside the C library back to the system, where that library is glibc.

    Every candidate has other shapes, so what one frees seldom fits the next: without this, a worker that measured a
    hundred ResNet-20s held hundreds of MB of holes.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return  # another C library


def total_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
