"""One process at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evoprune.common.errors import UserError

_LOCK = ".lock"


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
        opened = lock.open("w")
    except IsADirectoryError:
        raise UserError(f"{lock}: is a folder, where a file is to keep other processes out; remove it") from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise UserError(
                f"{path}: another process is working in this run; wait for it or choose another --out"
            ) from None
        yield


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
