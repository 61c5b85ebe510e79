"""Models side by side: costs, accuracy and latency, and how much faster each is than the base network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoprune.common.files import write_atomically
from evoprune.common.objectives import Row
from evoprune.report.latencies import spread_text
from evoprune.report.tables import markdown, share_text
from evoprune.runs.table import write_table

BATCHES = (1, 128)
RUNTIMES = ("torch", "onnx")
_NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime"}
_FACTS = ("model", "accuracy", "flops", "params", "file_bytes")


def columns() -> list[str]:
    """Columns of `evaluation.csv`; `docs/files.md` says what each means."""
    timed = [f"{runtime}_{name}_{batch}" for runtime in RUNTIMES for batch in BATCHES
             for name in ("ms", "p90_ms", "spread", "speed_up")]  # fmt: skip
    return [*_FACTS, *timed]


def comparison_table(rows: Sequence[Row]) -> str:
    """The base network first; costs with their share of its."""
    timed = [(runtime, batch) for runtime in RUNTIMES for batch in BATCHES
             if any(row.get(f"{runtime}_ms_{batch}") for row in rows)]  # fmt: skip
    heads = [f"{_NAMES[runtime]}, {batch} image{'s' if batch > 1 else ''}" for runtime, batch in timed]
    head = ["network", "accuracy", "multiply-adds", "parameters", "file, bytes", *heads]
    lines = [[_name(row), _percent(row), *(_cost(row, rows[0], name) for name in _FACTS[2:]),
              *(_latency(row, *place) for place in timed)] for row in rows]  # fmt: skip
    return markdown(head, lines)


def write_comparison(folder: Path, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Write `evaluation.csv`, `evaluation.json` and `evaluation.md`.

    Args:
        folder: is made where it is not there.
        rows: the base network first.
        facts: how they were measured.
    """
    table = comparison_table(rows)
    write_table(folder / "evaluation.csv", rows, columns())
    write_atomically(folder / "evaluation.json", json.dumps({**facts, "models": list(rows)}, indent=1) + "\n")
    said = "".join(f"\n{name}: {value}" for name, value in facts.items())
    write_atomically(folder / "evaluation.md", f"{table}\n{said}\n")


def _name(row: Row) -> str:
    return str(row["model"])


def _percent(row: Row) -> str:
    return "not known" if row["accuracy"] is None else f"{row['accuracy']:.2f} %"


def _cost(row: Row, base: Row, name: str) -> str:
    return "not known" if row[name] is None else f"{row[name]:,} ({share_text(row[name], base[name])})"


def _latency(row: Row, runtime: str, batch: int) -> str:
    value = row.get(f"{runtime}_ms_{batch}")
    if value is None:
        return "not measured"
    gain, slow = row.get(f"{runtime}_speed_up_{batch}"), row[f"{runtime}_p90_ms_{batch}"]
    spread = spread_text(row.get(f"{runtime}_spread_{batch}"))
    return f"{value:.2f} ms{spread}, p90 {slow:.2f}" + (f", {gain:.2f}x" if gain else "")
