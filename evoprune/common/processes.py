"""Processes that this one has started, and theirs: found and ended, as Linux shows them."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_WAIT_S = 0.05


class Process(NamedTuple):
    """A process by its id and when it was started, as ids are used again."""

    pid: int
    started: str


def descendants() -> set[Process]:
    """The children of this process, and theirs; none where the system does not show them."""
    parents = {}
    for folder in _PROC.glob("[0-9]*"):
        if (fields := _fields(int(folder.name))) is not None:
            parents[Process(int(folder.name), fields[19])] = int(fields[1])
    found: set[Process] = set()
    ids = {os.getpid()}
    while new := {process for process, parent in parents.items() if parent in ids} - found:
        found |= new
        ids = {process.pid for process in new}
    return found


def name_of(process: Process) -> str | None:
    """The name of a process, of which Linux keeps 15 characters; None where it has ended."""
    try:
        return (_PROC / str(process.pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return None


def is_alive(process: Process) -> bool:
    """Whether a process has not ended yet; one that nobody has asked for its status has ended."""
    fields = _fields(process.pid)
    return fields is not None and fields[19] == process.started and fields[0] != "Z"


def end(processes: Iterable[Process], patience_s: float = 0.0) -> None:
    """Kill those of the processes that do not end by themselves within `patience_s`."""
    left, deadline = {process for process in processes if is_alive(process)}, time.monotonic() + patience_s
    while left and time.monotonic() < deadline:
        time.sleep(_WAIT_S)
        left = {process for process in left if is_alive(process)}
    for process in left:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _fields(pid: int) -> list[str] | None:
    """What Linux says of a process behind its name: state, parent, ..., when it was started (the 20th)."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
