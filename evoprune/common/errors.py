"""The errors of users' mistakes and of trainings that came to nothing."""

import difflib
from collections.abc import Collection, Iterable

_FEW_NAMES = 10


class UserError(ValueError):
    """Something the user can put right: the message says the rule, what came, and what to do."""


class NotAtHandError(UserError):
    """Images that are not on this machine and cannot be fetched; another one may have them."""


class IncompleteError(RuntimeError):
    """A command has come to its end without all that it was to do. What is done is on the disk."""


def printable(text: str, allowed: str = "\n\t") -> str:
    """`text` with control characters but the allowed ones escaped: what stands in a file cannot steer a terminal."""
    return "".join(char if char.isprintable() or char in allowed else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def some(names: Collection[str]) -> str:
    """Names in a line, the first ten of them."""
    shown = [printable(name, allowed="") for name in list(names)[:_FEW_NAMES]]
    return ", ".join([*shown, "..."] if len(names) > _FEW_NAMES else shown)


def reason_of(error: BaseException) -> str:
    """An error in one line of at most 200 characters; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


_NEAREST, _MOST_NAMES = 8, 100


def suggest(came: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'? Allowed: ...` for a misspelt name; of very many names the nearest alone."""
    names = sorted(set(allowed))
    close = difflib.get_close_matches(came, names, n=_NEAREST)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if len(names) <= _MOST_NAMES:
        return f"{hint}allowed: {', '.join(names)}"
    return f"{hint}allowed: {len(names):,} names" + (f", such as {', '.join(close)}" if close else "")


LOSS_NOT_FINITE = "the training loss is not finite; lower the learning rate"
TIME_IS_UP = "the time limit has passed"
OUTPUT_NOT_FINITE = "the network's output is not finite"


class TrainingError(RuntimeError):
    """A training or a measurement without a result: loss or output is not finite, or the time limit has passed."""
