"""Signals that end a command: the first one lets it end in order, a second one, or 12 seconds, end it at once."""

import atexit
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from evoprune.common.processes import descendants, end

RUN_AGAIN = 75
"""The exit status of what was stopped, EX_TEMPFAIL of sysexits.h: the same command goes on."""
PATIENCE_S = 12.0
_SAME_S = 1.0  # a terminal that is closed, or a scheduler, sends two signals for one event
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_ATTENTION = {number for number in SIGNALS if number.name in ("SIGUSR1", "SIGHUP")}


class Stopped(KeyboardInterrupt):
    """A signal has asked the command to end."""


class _State:
    """What has come, and what is to be done about it."""

    def __init__(self) -> None:
        self.received: str | None = None
        self.listening = False
        self.deferring = 0
        self.cleanups: list[Callable[[], object]] = []


_state = _State()


def received() -> str | None:
    """The name of the signal that has come; None for none."""
    return _state.received


def stop_if_received() -> None:
    """Raise `Stopped` where a signal has come, within `stop_on_signals`, and code in C has swallowed what it raised."""
    if _state.listening and _state.received is not None and _state.deferring == 0:
        raise Stopped(_state.received)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within, a signal raises `Stopped` in the main thread, where it can: a call of C is not interrupted.

    A thread of its own sees signals also then. It ends the process after a second signal, or when `PATIENCE_S` have
    passed since the first, with all processes that it has started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.received, _state.deferring, _state.listening = None, 0, True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _handle) for number in SIGNALS}
    try:
        yield
    finally:
        _state.listening = False
        if _state.received is not None:
            atexit.register(_ignore_all)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)  # which ends the thread


def _ignore_all() -> None:
    """A second signal must not change the exit status of a process that is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """Within, a signal waits for the end: for calls into libraries that others must not leave half done.

    Signals that ask for no more than attention are kept from processes that are started here. A library that takes
    signals over in C loses them again at the end: Ray's own handler of SIGTERM aborts the process after 3 seconds.
    """
    mask, before = _block(_ATTENTION), _state.received
    _state.deferring += 1
    try:
        with _no_other_handlers():
            yield
    finally:
        _state.deferring -= 1
        _take_back()
        _unblock(_ATTENTION - mask)
    if _state.received != before and _state.deferring == 0:
        raise Stopped(_state.received)


@contextmanager
def cleaned_up(cleanup: Callable[[], object]) -> Iterator[None]:
    """Call `cleanup` at the end, also where the process ends at once."""
    _state.cleanups.append(cleanup)
    try:
        yield
    finally:
        _state.cleanups.remove(cleanup)
        cleanup()


@contextmanager
def _no_other_handlers() -> Iterator[None]:
    """Within, nobody else handles the signals that are handled here: Ray would exit, wherever it is called."""
    real = signal.signal

    def put_in(number: int, handler: Any) -> Any:
        current = signal.getsignal(number)
        return current if current is _handle else real(number, handler)

    signal.signal = put_in  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real


def _take_back() -> None:
    """Set the handlers again that Python believes to be set."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is _handle:
                signal.signal(number, _handle)


def _block(numbers: set[signal.Signals]) -> set[signal.Signals]:
    """Block signals in this thread, and in what it starts; returns those that were blocked before."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        return numbers
    return {signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, numbers)}


def _unblock(numbers: set[signal.Signals]) -> None:
    if numbers:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.received is None:
        _state.received = signal.Signals(number).name
        if _state.deferring == 0:
            raise Stopped(_state.received)


def _watch(reader: int) -> None:
    """Read the numbers of signals as they come, until the other end is closed."""
    deadline: float | None = None
    name = ""
    while True:
        patience = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reader], [], [], patience)[0]:
            end_at_once(f"stopped by {name}")
        numbers = os.read(reader, 64)
        if not numbers:
            os.close(reader)
            return
        came = [signal.Signals(number).name for number in numbers if number in SIGNALS]
        if not came:
            continue
        if deadline is None:
            deadline, name = time.monotonic() + PATIENCE_S, came[0]
        elif time.monotonic() > deadline - PATIENCE_S + _SAME_S:
            end_at_once()


def end_at_once(because: str = "ended at once") -> NoReturn:
    """End this process with the status `RUN_AGAIN`, all that it has started, and what `cleaned_up` was given."""
    said = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # threads whose processes are killed now would say so, at length
    for _ in range(3):  # what is killed may have started others
        end(descendants())
    for cleanup in _state.cleanups:
        try:
            cleanup()
        except Exception:  # nobody is left to hear of it
            continue
    os.write(said, f"evoprune: {because}; the same command goes on from here\n".encode())
    os._exit(RUN_AGAIN)
