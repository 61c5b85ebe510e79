"""Latency that a command of the user's measures, for devices that evoprune does not run on."""

import math
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO


class LatencyError(RuntimeError):
    """A command that has measured nothing: it failed, took too long, or printed no time."""


def run_latency_command(words: Sequence[str], model: Path, limit_s: float) -> float:
    """What a command prints for a saved model, in ms.

    Args:
        words: the command; `{model}` in a word stands for the model's folder. No shell sees them.
        model: folder of the saved model.
        limit_s: seconds after which the command, and what it has started, is ended.

    Raises:
        LatencyError: it cannot be started, fails, takes too long, or its last line is no time.
    """
    given = [word.replace("{model}", str(model)) for word in words]
    # Files, as a child in the background would keep a pipe open after the command has ended.
    with TemporaryFile("w+", errors="replace") as out, TemporaryFile("w+", errors="replace") as err:
        try:
            process = subprocess.Popen(given, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        except OSError as error:
            raise LatencyError(f"{given[0]}: {error.strerror}") from None
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise LatencyError(f"{given[0]}: took longer than {limit_s:g} s (evaluation.latency_limit_s)") from None
        finally:
            _end(process)
        if process.returncode:
            raise LatencyError(f"{given[0]}: exit status {process.returncode}: {_last(err) or _last(out)}")
        return _milliseconds(given[0], _last(out))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a command and its children, which are a group of their own."""
    with suppress(ProcessLookupError, PermissionError):  # nobody is left, in the words of one system or another
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(file: IO[str]) -> str:
    """The last line that is not empty."""
    file.seek(0)
    lines = [line.strip() for line in file.read().splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _milliseconds(command: str, line: str) -> float:
    try:
        found = float(line)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found <= 0:
        raise LatencyError(f"{command}: the last line that it prints is to be milliseconds, got {line!r}")
    return found
