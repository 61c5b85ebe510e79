"""Latencies as people read them, and what `run.json` knows of them."""

from collections.abc import Mapping
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.objectives import WIDEST_SPREAD
from evoprune.runs.folder import RunFolder


def base_latency_ms(folder: RunFolder) -> float | None:
    """The latency of the base network in ms; None where it was not measured.

    Raises:
        UserError: `run.json` is damaged.
    """
    known = folder.facts().get("latency", {}).get("base_ms")
    if known is not None and (isinstance(known, bool) or not isinstance(known, int | float) or not known > 0):
        raise UserError(f"{folder.run_json}: latency.base_ms is {known!r}; remove it, and it is measured again")
    return known


def latency_text(folder: RunFolder) -> str:
    """What the latencies of a run hold for, in a line such as `latency: one image, fp32, 1 thread, NAME`."""
    facts: dict[str, Any] = folder.facts().get("latency", {})
    if "command" in facts:
        return f"latency: by {' '.join(map(str, facts['command']))}"
    images, threads = facts.get("batch_size"), facts.get("threads")
    if images is None:
        return ""
    return (
        f"latency: {images} image{'s' if images != 1 else ''}, {facts.get('precision')}, {facts.get('device')}, "
        f"{threads} CPU thread{'s' if threads != 1 else ''}"
    )


def latency_cell(row: Mapping[str, Any]) -> str:
    """The latency of a row, with its spread where it is too wide; empty where it was not measured."""
    if row.get("latency") is None:
        return ""
    return f"{row['latency']:.3g} ms{spread_text(row.get('latency_spread'))}"


def spread_text(spread: float | None) -> str:
    """What is to be said of a measurement whose repeats did not agree; nothing of others."""
    return "" if spread is None or spread <= WIDEST_SPREAD else f" ±{spread:.0f} %"
