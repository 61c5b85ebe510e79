"""One process at a time in a folder; locks that processes and threads of a machine share."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evoprune.common.errors import UserError

_LOCK = ".lock"
_POLL_S = 0.01


@contextmanager
def lock_folder(path: Path, wait: bool = False) -> Iterator[None]:
    """Be the only process in a folder; where another is, wait for its end or raise UserError."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    lock = path / _LOCK
    try:
        file = _open(lock, 0o666)
    except IsADirectoryError:
        raise UserError(f"{lock}: is a folder, where a file is to keep other processes out; remove it") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(
                f"{path}: another process is working in this run; wait for it (`evoprune watch` and `evoprune report "
                "--watch` show how far it is), or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(
                f"{lock}: this file system cannot lock files ({error.strerror}); choose another --out"
            ) from None
        yield
    finally:
        os.close(file)


def is_locked(path: Path) -> bool:
    """Whether a process is working in a folder; False where the system has no such locks."""
    try:
        import fcntl

        with (path / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


@contextmanager
def hold(path: Path, alone: bool, patience_s: float | None = None) -> Iterator[bool]:
    """Hold a file's lock, alone or with others who do not want it alone; the system frees it when a process dies.

    Args:
        path: of the file, which is made where it is not there.
        alone: whether nobody else may hold it.
        patience_s: seconds of waiting after which this goes on without the lock; None for any.

    Yields:
        Whether it is held. Never where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    file = _open(path, 0o600)
    deadline = None if patience_s is None else time.monotonic() + patience_s
    try:
        is_held = is_late = False
        while not (is_held or is_late):
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                is_held = True
            except BlockingIOError:
                is_late = deadline is not None and time.monotonic() >= deadline
                time.sleep(_POLL_S)
        yield is_held
    finally:
        os.close(file)


def _open(path: Path, mode: int) -> int:
    """The descriptor of a lock's file, made where it is not there; a link that somebody has laid is not followed."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
