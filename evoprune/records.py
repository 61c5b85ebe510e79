"""Rows of a run and the files that hold them. No torch: results can be read and checked anywhere."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evoprune.errors import UserError
from evoprune.files import write_atomically
from evoprune.front import non_dominated
from evoprune.objectives import to_losses
from evoprune.space import SearchSpace

Row = dict[str, Any]
NO_ERROR = "none"
"""What stands in `error` where there is none: pandas reads an empty column as numbers."""
_TEXT = {"proposal", "status", "code", "key", "worker", "error", "model"}
_WHOLE = {"id", "generation", "flops", "params", "bandwidth", "num_seeds"}


def report_columns(space: SearchSpace, with_latency: bool) -> list[str]:
    """Columns of `reports.csv`, in order."""
    return [
        *("id", "generation", "proposal", "status", "key", "accuracy", "flops", "params", "bandwidth"),
        *(("latency",) if with_latency else ()),
        *("epochs", "seconds", "worker", "error"),
        *(f"kept.{segment.name}" for segment in space.segments),
        "code",
    ]


class Reports:
    """`reports.csv`: one row per evaluation, appended whole and flushed to the disk.

    Raises:
        UserError: on opening, where a line that is not the last one is damaged, or columns differ.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path, self._columns = path, list(columns)
        self.rows: list[Row] = []
        if path.exists():
            self.rows = self._read()
        else:
            write_atomically(path, _format([], self._columns))

    def append(self, row: Row) -> None:
        """Add one row; when this returns it is on the disk."""
        with self._path.open("ab") as file:
            file.write(_format_row(row, self._columns).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def sort(self) -> None:
        """Bring rows into the order of their ids, so that the file does not tell which worker was faster."""
        ordered = sorted(self.rows, key=lambda row: row["id"])
        if ordered != self.rows:
            self.rows = ordered
            write_atomically(self._path, _format(ordered, self._columns))

    def _read(self) -> list[Row]:
        text = self._path.read_bytes().decode("utf-8", errors="replace")
        columns, rows = _parse_table(text, self._path)
        if columns and columns != self._columns:
            raise UserError(f"{self._path}: its columns are not those of this experiment; choose another --out")
        if text != _format(rows, self._columns):
            write_atomically(self._path, _format(rows, self._columns))
        return rows


def read_rows(path: Path) -> list[Row]:
    """Rows of a `reports.csv` or `output.csv` as typed dicts; empty cells are None; a torn last line is left out.

    Raises:
        UserError: no such file, or a damaged line that is not the last.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the folder of a run with finished evaluations is wanted") from None
    return _parse_table(text, path)[1]


def _parse_table(text: str, path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows of a table; none where not even its first line is whole."""
    lines = text.splitlines(keepends=True)
    if not lines or not lines[0].endswith("\n"):
        return [], []
    columns = lines[0].rstrip("\n").split(",")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        row = _parse_line(line, columns)
        if row is not None:
            rows.append(row)
        elif number < len(lines):
            raise UserError(
                f"{path}: line {number} is damaged; repair or delete that line, or start afresh with another --out"
            )
    return columns, rows


def front_rows(rows: Iterable[Row], objectives: Sequence[str]) -> list[Row]:
    """The non-dominated rows of status `ok`, cheapest first (by the last objective that is minimised)."""
    good = [row for row in rows if row["status"] == "ok"]
    losses = to_losses(good, objectives)
    front = [row for row, keep in zip(good, non_dominated(losses), strict=True) if keep]
    order = to_losses(front, list(reversed(objectives)))
    return [front[i] for i in sorted(range(len(front)), key=lambda i: tuple(order[i]))]


def write_output(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write `output.csv`, whole or not at all."""
    write_atomically(path, _format(rows, columns))


def _format(rows: Iterable[Row], columns: Sequence[str]) -> str:
    return ",".join(columns) + "\n" + "".join(_format_row(row, columns) for row in rows)


def _format_row(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    cells = [_format_cell(name, row.get(name)) for name in columns]
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _format_cell(name: str, value: Any) -> str:
    if value is None:
        return NO_ERROR if name == "error" else ""
    return " ".join(str(value).split())[:500] if name == "error" else str(value)


def _parse_line(line: str, columns: Sequence[str]) -> Row | None:
    """A typed row, or None where the line is not whole."""
    cells = next(csv.reader([line]), [])
    if not line.endswith("\n") or len(cells) != len(columns):
        return None
    try:
        return {name: _parse(name, text) for name, text in zip(columns, cells, strict=True)}
    except ValueError:
        return None


def _parse(name: str, text: str) -> Any:
    if name == "error" and text == NO_ERROR:
        return None
    if text == "":
        return None
    if name in _TEXT:
        return text
    if name in _WHOLE or name.startswith("kept."):
        return int(text)
    return float(text)
