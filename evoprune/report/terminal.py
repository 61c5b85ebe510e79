"""Tables for a terminal: aligned columns of at most 100 characters. No Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evoprune.common.objectives import Row
from evoprune.report.latencies import latency_cell

COLUMNS = 100


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts: the first column to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def front_table(front: Sequence[Row], base: Mapping[str, Any]) -> str:
    """Networks of a front beside the base network.

    Args:
        front: rows of `output.csv`, in the order in which they are shown.
        base: costs of the base network, and its accuracies in % where they are known: `accuracy` on the validation
            split, as the search measured it like all others; `test_accuracy`; likewise its `latency`.
    """
    timed = any(row.get("latency") is not None for row in (base, *front))
    head = ["network", "in search", "test", "multiply-adds", "of base", "parameters", *(["latency"] if timed else [])]
    rows = [("base network", base), *((row["key"], row) for row in front)]
    return aligned(head, [[name, *_cells(row, base), *([latency_cell(row)] if timed else [])] for name, row in rows])


def _cells(row: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    spread = f" ± {row['test_accuracy_std']:.2f}" if row.get("test_accuracy_std") is not None else ""
    accuracies = [_percent(row.get("accuracy")), _percent(row.get("test_accuracy"), spread)]
    return [*accuracies, f"{row['flops']:,}", f"{100 * row['flops'] / base['flops']:.1f} %", f"{row['params']:,}"]


def _percent(value: float | None, spread: str = "") -> str:
    return "" if value is None else f"{value:.2f}{spread} %"
