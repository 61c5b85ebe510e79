"""How a run came about: versions, hardware, commit."""

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from evoprune.common.hardware import cpu_name

_PACKAGES = ("evoprune", "torch", "torchvision", "pymoo", "ray", "numpy", "pandas")


def provenance() -> dict[str, Any]:
    """Versions of what a result depends on, and this machine; its GPUs are noted by the stage that looks for them."""
    hardware = {"platform": platform.platform(), "cpu": cpu_name(), "num_cpus": os.cpu_count()}
    return {"versions": _versions(), "hardware": hardware}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with `-dirty`; None for an installed wheel."""
    checkout = Path(__file__).resolve().parents[2]
    try:
        if Path(_git(checkout, "rev-parse", "--show-toplevel")).resolve() != checkout:
            return None
        return _git(checkout, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def now() -> str:
    """The local time, with its offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
