"""The columns of `reports.csv`, which holds one row per evaluation, and of `output.csv`, its front."""

from collections.abc import Iterable

NEWER = ("latency_spread",)
"""Columns that tables of earlier versions have not."""


def report_columns(segments: Iterable[str], with_latency: bool) -> list[str]:
    """Columns in order; `docs/files.md` says what each means.

    Args:
        segments: names of the search space's segments, of which each has a column of kept channels.
        with_latency: whether the experiment measures it.
    """
    return [
        *("id", "generation", "rung", "proposal", "status", "key", "accuracy", "flops", "params", "bandwidth"),
        *(("latency", *NEWER) if with_latency else ()),
        *("epochs", "seconds", "worker", "error"),
        *(f"kept.{name}" for name in segments),
        "code",
    ]
