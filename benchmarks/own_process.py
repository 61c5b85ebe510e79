"""A row of a table that is made in a process of its own: what dies or takes too long costs that row alone."""

import multiprocessing
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

CONTEXT = multiprocessing.get_context("fork")  # the libraries are loaded once
Row = dict[str, object]


def in_process(make_row: Callable[[str, int], Row], column: str, given: tuple[str, int], limit: int) -> Row:
    """A row that is made in a process of its own. Where it fails, `column` says how.

    Args:
        make_row: makes the row.
        column: for failures.
        given: what it takes: a network's name, and a number.
        limit: CPU seconds.
    """
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_send, args=(there, make_row, column, given, limit))
    process.start()
    there.close()
    try:
        row: Row = here.recv()
        process.join()
    except EOFError:
        process.join()
        is_late = process.exitcode == -signal.SIGXCPU
        row = {column: f"more than {limit} CPU seconds" if is_late else "dies"}
    return row


def _send(
    there: Connection, make_row: Callable[[str, int], Row], column: str, given: tuple[str, int], limit: int
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    torch.set_num_threads(1)
    try:
        there.send(make_row(*given))
    except Exception as error:  # the peer's are of any kind; ours would be bugs, and shall stand in the table
        there.send({column: " ".join(f"raises {type(error).__name__}: {error}".split())[:100]})
