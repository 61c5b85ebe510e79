"""Models side by side: costs, accuracy and latency, and how much faster each is than the base network."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoprune.common.files import write_atomically
from evoprune.common.objectives import Row
from evoprune.report.latencies import spread_text
from evoprune.report.tables import end_of, markdown, share_text
from evoprune.report.terminal import aligned
from evoprune.runs.table import write_table

BATCHES = (1, 128)
RUNTIMES = ("torch", "onnx")
_NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime"}
_HEAD = ("network", "accuracy", "multiply-adds", "parameters", "file, bytes")
_LONGEST_NAME = 24
_FACTS = ("model", "accuracy", "flops", "params", "file_bytes")


def columns() -> list[str]:
    """Columns of `evaluation.csv`; `docs/files.md` says what each means."""
    timed = [f"{runtime}_{name}_{batch}" for runtime in RUNTIMES for batch in BATCHES
             for name in ("ms", "median_ms", "p90_ms", "spread", "speed_up", "speed_up_spread")]  # fmt: skip
    return [*_FACTS, "device", "threads", *timed]


def comparison_table(rows: Sequence[Row]) -> str:
    """The base network first; costs with their share of its."""
    timed = _timed(rows)
    lines = [[str(row["model"]), *_facts(row, rows[0]), *(_latency(row, *place) for place in timed)] for row in rows]
    return markdown([*_HEAD, *(_title(*place) for place in timed)], lines)


def terminal_tables(rows: Sequence[Row]) -> str:
    """The same in two tables that fit a terminal: costs, and latencies without their 90th percentiles."""
    timed, names = _timed(rows), _short_names([str(row["model"]) for row in rows])
    costs = aligned(_HEAD, [[name, *_facts(row, rows[0])] for name, row in zip(names, rows, strict=True)])
    if not timed:
        return costs
    times = [[name, *(_short_latency(row, *place) for place in timed)] for name, row in zip(names, rows, strict=True)]
    return (
        f"{costs}\n\n{aligned(['ms, speed-up; images', *(f'{runtime}, {batch}' for runtime, batch in timed)], times)}"
    )


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


def _timed(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Runtimes and batches that any network was timed in."""
    places = [(runtime, batch) for runtime in RUNTIMES for batch in BATCHES]
    return [place for place in places if any(row.get("{}_ms_{}".format(*place)) for row in rows)]


def _title(runtime: str, batch: int) -> str:
    return f"{_NAMES[runtime]}, {batch} image{'s' if batch > 1 else ''}"


def _short_names(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them lie in, and of a long one its end."""
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = [os.path.relpath(os.path.abspath(path), common) for path in paths]
    return [end_of(name, _LONGEST_NAME) for name in names]


def _facts(row: Row, base: Row) -> list[str]:
    return [_percent(row), *(_cost(row, base, name) for name in _FACTS[2:])]


def _percent(row: Row) -> str:
    return "not known" if row["accuracy"] is None else f"{row['accuracy']:.2f} %"


def _cost(row: Row, base: Row, name: str) -> str:
    return "not known" if row[name] is None else f"{row[name]:,} ({share_text(row[name], base[name])})"


def _latency(row: Row, runtime: str, batch: int) -> str:
    value = row.get(f"{runtime}_ms_{batch}")
    if value is None:
        return "not measured"
    gain, median, slow = (row.get(f"{runtime}_{name}_{batch}") for name in ("speed_up", "median_ms", "p90_ms"))
    spread = spread_text(row.get(f"{runtime}_spread_{batch}"))
    faster = f", {gain:.2f}x{_gain_spread(row, runtime, batch)}" if gain else ""
    return f"{value:.2f} ms{spread}, median {median:.2f}, p90 {slow:.2f}{faster}"


def _short_latency(row: Row, runtime: str, batch: int) -> str:
    value = row.get(f"{runtime}_ms_{batch}")
    if value is None:
        return "-"
    spread = spread_text(row.get(f"{runtime}_spread_{batch}")).replace(" ", "")
    gain, about = row.get(f"{runtime}_speed_up_{batch}"), "~" if _gain_spread(row, runtime, batch) else ""
    return f"{value:.2f}{spread}" + (f" {about}{gain:.2f}x" if gain else "")


def _gain_spread(row: Row, runtime: str, batch: int) -> str:
    return spread_text(row.get(f"{runtime}_speed_up_spread_{batch}"))
