"""What a run on Ray cannot go on without: its own processes of Ray, or the head of a cluster that is there."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from evoprune.common.processes import Process, descendants, end, is_alive, name_of
from evoprune.common.signals import end_at_once

_NEEDED = ("gcs_server", "raylet")
_LOOK_EVERY_S = 2.0
_SILENCE_S = 40.0  # Ray gives a head 60 s to come back, then ends this process in its own way


@contextmanager
def watched(processes: Iterable[Process]) -> Iterator[None]:
    """Within, end this process with the status to run it again when one of Ray's own among `processes` has ended.

    Ray itself would end it up to a minute later, with a stack trace and a status that says nothing.
    """
    needed = {process: name for process in processes if (name := name_of(process)) in _NEEDED}
    known: set[Process] = set()  # the children of a process that has ended are nobody's descendants

    def look() -> None:
        known.update(descendants())
        for process, name in needed.items():
            if not is_alive(process):
                end(known)
                end_at_once(f"Ray's process {name} has ended, as where memory is short")

    with _regularly(look):
        yield


@contextmanager
def watched_head(host: str, port: int) -> Iterator[None]:
    """Within, end this process with the status to run it again when a cluster's head has been silent for too long."""
    heard = time.monotonic()

    def look() -> None:
        nonlocal heard
        if _answers(host, port):
            heard = time.monotonic()
        elif time.monotonic() - heard > _SILENCE_S:
            end_at_once(f"nobody has answered at {host}:{port} for {_SILENCE_S:.0f} s, the head of the Ray cluster")

    with _regularly(look):
        yield


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_LOOK_EVERY_S).close()
    except OSError:
        return False
    return True


@contextmanager
def _regularly(look: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            look()

    thread = threading.Thread(target=watch, name="ray head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
