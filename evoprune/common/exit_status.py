"""How a command ends: its exit status, and one message where it is not 0."""

import errno
import os
import sys
from collections.abc import Callable

from evoprune.common.errors import IncompleteError, TrainingError, UserError, printable, reason_of
from evoprune.common.signals import RUN_AGAIN, received, stop_on_signals

INCOMPLETE, USER_ERROR = 1, 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last one where files may have no more than some size
_GOES_ON = "the same command goes on from here"


def run_to_status(command: Callable[[], object]) -> int:
    """Run a command to its end, whatever that is, and say what is to be said of it; returns the exit status.

    Returns:
        0; 1 where a part of the work could not be done; 2 for a mistake of the user's; 75 where the same command is to
        be run again, as it was stopped by a signal or has found no room on the disk.
    """
    try:
        with stop_on_signals():
            command()
    except (UserError, TrainingError) as error:  # the latter of a network that the command cannot do without
        return _end(USER_ERROR, str(error))
    except IncompleteError as error:
        return _end(INCOMPLETE, str(error))
    except NotImplementedError as error:
        if "'BFloat16'" not in str(error):
            raise
        return _end(USER_ERROR, f"an operator of the network knows no bf16 here ({error}); set precision: fp32")
    except BrokenPipeError:  # as of `evoprune validate FILE | head -n 1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return RUN_AGAIN
    except OSError as error:
        if error.errno in _FULL:
            name = error.filename2 or error.filename or "a file"  # of a copy the second one
            return _end(RUN_AGAIN, f"{name}: {error.strerror}; make room; {_GOES_ON}")
        if error.filename is None:
            raise
        if error.errno == errno.EISDIR:
            return _end(USER_ERROR, f"{error.filename}: is a folder, where a file is to be; remove it")
        return _end(USER_ERROR, f"{error.filename}: {error.strerror}; put that right, or choose another --out")
    except (KeyboardInterrupt, SystemError, SystemExit, GeneratorExit) as error:
        if received() is not None and not isinstance(error, SystemExit | GeneratorExit):
            # code in C makes a SystemError of what a signal raises in it
            return _end(RUN_AGAIN, f"stopped by {received()}; {_GOES_ON}")
        if isinstance(error, SystemError):
            raise
        return _end(
            USER_ERROR,
            f"{type(error).__name__} was raised ({reason_of(error)}): the code of the network does that, or a library; "
            "put that right",
        )
    return 0


def _end(status: int, message: str) -> int:
    print(f"evoprune: {printable(message)}", file=sys.stderr)
    return status
