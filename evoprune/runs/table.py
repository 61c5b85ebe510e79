"""Tables of typed rows that survive a crash."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError
from evoprune.common.files import write_atomically
from evoprune.common.objectives import Row

NO_ERROR = "none"
"""What stands in `error` where there is none: pandas reads an empty column as numbers."""


_TEXT = {"proposal", "status", "code", "key", "worker", "error", "model", "segment", "state", "recipe"}
_COUNTS = {"id", "generation", "rung", "num_seeds", "images", "kept", "step", "round"}
_SIZES = {"flops", "params", "bandwidth", "nonzero_flops", "nonzero_params", "file_bytes", "zipped_bytes"}
_WHOLE = {*_COUNTS, *_SIZES}


class Table:
    """A table that grows: one row per evaluation, appended whole and flushed to the disk.

    Args:
        path: of the table, `reports.csv` for one.
        columns: in order.
        place: the columns of whole numbers that tell which evaluation a row is: by default the candidate and the rung.

    Raises:
        UserError: on opening, where a line that is not the last one is damaged, or columns differ.
    """

    def __init__(self, path: Path, columns: Sequence[str], place: Sequence[str] = ("id", "rung")):
        self._path, self._columns, self._place_columns = path, list(columns), tuple(place)
        self.rows: list[Row] = []
        if path.exists():
            self.rows = self._read()
        else:
            write_atomically(path, _format([], self._columns))
        self._found = {self._place(row): row for row in self.rows}

    def find(self, *place: int) -> Row | None:
        """The row of an evaluation, such as a candidate at a rung, or None."""
        return self._found.get(place)

    def append(self, row: Row) -> None:
        """Add one row, or replace the one that has its place; when this returns it is on the disk."""
        known = self._found.get(self._place(row))
        if known is not None:
            self._replace(known, row)
            return
        with self._path.open("ab") as file:
            file.write(_format_row(row, self._columns).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)
        self._found[self._place(row)] = row

    def _replace(self, known: Row, row: Row) -> None:
        """What is measured again comes last, as if it were measured for the first time."""
        self.rows = [*(other for other in self.rows if other is not known), row]
        self._found[self._place(row)] = row
        write_atomically(self._path, _format(self.rows, self._columns))

    def sort(self) -> None:
        """Bring rows into the order of their places, so that the file does not tell which worker was faster."""
        ordered = sorted(self.rows, key=self._place)
        if any(row is not other for row, other in zip(ordered, self.rows, strict=True)):
            self.rows = ordered
            write_atomically(self._path, _format(ordered, self._columns))

    def _place(self, row: Row) -> tuple[int, ...]:
        """Which evaluation a row is."""
        return tuple(row[name] for name in self._place_columns)

    def _read(self) -> list[Row]:
        text = self._path.read_bytes().decode("utf-8", errors="replace")
        columns, rows = _parse_table(text, self._path)
        if columns and columns != self._columns:
            raise UserError(f"{self._path}: its columns are not those of this experiment; choose another --out")
        whole = "".join(text.splitlines(keepends=True)[: 1 + len(rows)]) if columns else _format([], self._columns)
        if text != whole:
            write_atomically(self._path, whole)
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
    parsers = [_parser(name) for name in columns]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        row = _parse_line(line, columns, parsers)
        if row is not None:
            rows.append(row)
        elif number < len(lines):
            raise UserError(
                f"{path}: line {number} is damaged; repair or delete that line, or start afresh with another --out"
            )
    return columns, rows


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write a table such as `output.csv`, whole or not at all."""
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


def _parse_line(line: str, columns: Sequence[str], parsers: Sequence[Callable[[str], Any]]) -> Row | None:
    """A typed row, or None where the line is not whole."""
    cells = next(csv.reader([line]), [])
    if not line.endswith("\n") or len(cells) != len(columns):
        return None
    try:
        values = [parse(text) if text else None for parse, text in zip(parsers, cells, strict=True)]
    except ValueError:
        return None
    return dict(zip(columns, values, strict=True))


def _parser(name: str) -> Callable[[str], Any]:
    """What reads a cell of this column that is not empty."""
    if name == "error":
        return lambda text: None if text == NO_ERROR else text
    if name in _TEXT:
        return str
    return int if name in _WHOLE or name.startswith("kept.") else float
