"""The processes of Ray's own that a run cannot go on without."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from evoprune.common.processes import Process, descendants, end, is_alive, name_of
from evoprune.common.signals import end_at_once

_NEEDED = ("gcs_server", "raylet")
_LOOK_EVERY_S = 2.0


@contextmanager
def watched(processes: Iterable[Process]) -> Iterator[None]:
    """Within, end this process with the status to run it again when one of Ray's own among `processes` has ended.

    Ray itself would end it up to a minute later, with a stack trace and a status that says nothing.
    """
    needed = {process: name for process in processes if (name := name_of(process)) in _NEEDED}
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(needed, over), name="ray head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(needed: dict[Process, str], over: threading.Event) -> None:
    known: set[Process] = set()  # the children of a process that has ended are nobody's descendants
    while not over.wait(_LOOK_EVERY_S):
        known |= descendants()
        for process, name in needed.items():
            if not is_alive(process):
                end(known)
                end_at_once(f"Ray's process {name} has ended, as where memory is short")
