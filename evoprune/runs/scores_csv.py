"""The table of an importance: a score for each channel of each segment."""

from collections.abc import Iterable
from pathlib import Path

from evoprune.common.errors import UserError
from evoprune.runs.table import read_rows


def read_scores(path: Path, channels: Iterable[tuple[str, int]]) -> list[float]:
    """The scores in `importance/NAME.csv`.

    Args:
        path: of the table.
        channels: segment and channel of every bit of a code, in order.

    Raises:
        UserError: no such file, or one that has other channels or not a number for each of them.
    """
    rows = read_rows(path)
    found = [(row.get("segment"), row.get("channel")) for row in rows]
    scores = [row["score"] for row in rows if row.get("score") is not None]
    if found != list(channels) or len(scores) < len(found):
        raise UserError(
            f"{path}: damaged: it has not one score for each channel of the search space; "
            "delete it, and `evoprune run` computes it again"
        )
    return scores
