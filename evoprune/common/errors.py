"""The errors of users' mistakes and of trainings that came to nothing."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can put right: the message says the rule, what came, and what to do."""


class IncompleteError(RuntimeError):
    """A command has come to its end without all that it was to do. What is done is on the disk."""


def suggest(came: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'? Allowed: ...` for a misspelt name."""
    names = sorted(allowed)
    close = difflib.get_close_matches(came, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


LOSS_NOT_FINITE = "the training loss is not finite; lower the learning rate"
OUTPUT_NOT_FINITE = "the network's output is not finite"


class TrainingError(RuntimeError):
    """A training that did not come to its end: the loss is not finite, or the time limit has passed."""
