"""Versions that a worker must share with the process that started it: what travels between them is pickled."""

import platform
from collections.abc import Mapping

import evoprune

Versions = Mapping[str, str]
"""Version by what has it."""


def own_versions() -> Versions:
    """The versions of this process."""
    return {"Python": platform.python_version(), "evoprune": evoprune.__version__}


def version_fault(wanted: Versions) -> str | None:
    """Why this process is no worker of one that has the versions `wanted`; None where it may be."""
    own = own_versions()
    if own == wanted:
        return None
    return (
        f"the worker on {platform.node()} has {_listed(own)}, this process has {_listed(wanted)}; "
        "install the same versions on all nodes"
    )


def _listed(versions: Versions) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())
