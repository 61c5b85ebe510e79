"""Tables of typed rows that survive a crash."""

import csv
import io
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import append_durably, read_bounded, write_atomically
from evoprune.common.objectives import Row

NO_ERROR = "none"
"""What stands in `error` where there is none: pandas reads an empty column as numbers."""
CHECK = "check"
"""The last column of tables that a run goes on from: a checksum of the row. A digit that has changed is noticed."""


_TEXT = {"proposal", "status", "worker", "error", "model", "segment", "state", "recipe"}
_COUNTS = {"id", "generation", "rung", "num_seeds", "images", "kept", "step", "round"}
_SIZES = {"flops", "params", "bandwidth", "nonzero_flops", "nonzero_params", "file_bytes", "zipped_bytes"}
_WHOLE = {*_COUNTS, *_SIZES}
_NAMES = {"key": re.compile(r"k[0-9a-f]{11}"), "code": re.compile(r"h[0-9a-f]*")}
"""Texts that become the names of folders, or codes: what does not look like one leads nowhere."""
_MOST_BYTES = 2**30
_LARGEST = 2**62
"""Whole numbers beyond it are no count of anything, and fit no array."""


class Table:
    """A table that grows: one row per evaluation, appended whole, with its checksum, and flushed to the disk.

    Args:
        path: of the table, `reports.csv` for one.
        columns: in order.
        place: the columns of whole numbers that tell which evaluation a row is: by default the candidate and the rung.
        newer: columns that a table of an earlier version may lack; it gets them, empty.

    Raises:
        UserError: on opening, where a line that is not the last one is damaged or stands twice, or columns differ.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], place: Sequence[str] = ("id", "rung"), newer: Sequence[str] = ()
    ):
        self.path, self._columns, self._place_columns = path, list(columns), tuple(place)
        self._before = [name for name in self._columns if name not in newer]
        self.rows: list[Row] = []
        if path.exists():
            self.rows = self._read()
        else:
            write_atomically(path, _format_checked([], self._columns))
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
        append_durably(self.path, _with_check(_format_row(row, self._columns)).encode("utf-8"))
        self.rows.append(row)
        self._found[self._place(row)] = row

    def _replace(self, known: Row, row: Row) -> None:
        """What is measured again comes last, as if it were measured for the first time."""
        self.rows = [*(other for other in self.rows if other is not known), row]
        self._found[self._place(row)] = row
        write_atomically(self.path, _format_checked(self.rows, self._columns))

    def sort(self) -> None:
        """Bring rows into the order of their places, so that the file does not tell which worker was faster."""
        ordered = sorted(self.rows, key=self._place)
        if any(row is not other for row, other in zip(ordered, self.rows, strict=True)):
            self.rows = ordered
            write_atomically(self.path, _format_checked(ordered, self._columns))

    def _place(self, row: Row) -> tuple[int, ...]:
        """Which evaluation a row is."""
        return tuple(row[name] for name in self._place_columns)

    def _read(self) -> list[Row]:
        text = _read_text(self.path)
        header = _format_checked([], self._columns)
        columns, rows = ([], []) if header.startswith(text) else _parse_table(text, self.path)
        present = [name for name in columns if name != CHECK]
        if columns and present not in (self._columns, self._before):
            raise UserError(
                f"{self.path}: its columns are not those of this experiment: it is damaged, or of another one; "
                "delete it, and what it held is measured again, or choose another --out"
            )
        places: set[tuple[int, ...]] = set()
        for number, row in enumerate(rows, start=2):
            if None in self._place(row) or self._place(row) in places:
                raise _damaged(self.path, number)
            places.add(self._place(row))
        whole = "".join(text.splitlines(keepends=True)[: 1 + len(rows)]) if columns else header
        if columns and (present != self._columns or CHECK not in columns):  # of an earlier version
            rows = [{name: row.get(name) for name in self._columns} for row in rows]
            whole = _format_checked(rows, self._columns)
        if text != whole:
            write_atomically(self.path, whole)
        return rows


def read_rows(path: Path) -> list[Row]:
    """Rows of a `reports.csv` or `output.csv` as typed dicts; empty cells are None; a torn last line is left out.

    Raises:
        UserError: no such file, or a damaged line that is not the last.
    """
    return _parse_table(_read_text(path), path)[1]


def _read_text(path: Path) -> str:
    try:
        text = read_bounded(path, _MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; only a run with finished evaluations has it: `evoprune run` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a table: {reason_of(error)}; remove what is there") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")  # as editors and spreadsheets store it


def _damaged(path: Path, line: int) -> UserError:
    return UserError(
        f"{path}: line {line} is damaged; delete that line or the file, and what it held is measured again, or start "
        "afresh with another --out"
    )


def _parse_table(text: str, path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows of a table, whose checksums hold; none of an empty file."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return [], []
    columns = next(csv.reader(lines[:1]), [])
    if not lines[0].endswith("\n") or not columns:
        raise _damaged(path, 1)
    is_checked = columns[-1] == CHECK
    parsers = [(name, _parser(name)) for name in columns[: len(columns) - is_checked]]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        row = _parse_line(_without_check(line) if is_checked else line, parsers)
        if row is not None:
            rows.append(row)
        elif number < len(lines):
            raise _damaged(path, number)
    return columns, rows


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write a table such as `output.csv`, whole or not at all."""
    write_atomically(path, _format_cells(columns) + "".join(_format_row(row, columns) for row in rows))


def _format_checked(rows: Iterable[Row], columns: Sequence[str]) -> str:
    return _format_cells([*columns, CHECK]) + "".join(_with_check(_format_row(row, columns)) for row in rows)


def _with_check(line: str) -> str:
    """A row's line with its checksum as the last cell, which pandas does not take for a number."""
    cells = line.removesuffix("\n")
    return f"{cells},c{zlib.crc32(cells.encode('utf-8')):08x}\n"


def _without_check(line: str) -> str:
    """The line of a row before its checksum was added; empty where that does not hold."""
    cells = line.rpartition(",")[0] + "\n"
    return cells if _with_check(cells) == line else ""


def _format_row(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return _format_cells([_format_cell(name, row.get(name)) for name in columns])


def _format_cells(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _format_cell(name: str, value: Any) -> str:
    if value is None:
        return NO_ERROR if name == "error" else ""
    text = " ".join(str(value).split())[:500] if name == "error" else str(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a lone surrogate, as of a file's odd name


def _parse_line(line: str, parsers: Sequence[tuple[str, Callable[[str], Any]]]) -> Row | None:
    """A typed row, or None where the line is not whole."""
    try:
        cells = next(csv.reader([line]), [])
        if not line.endswith("\n") or len(cells) != len(parsers):
            return None
        return {name: parse(text) if text else None for (name, parse), text in zip(parsers, cells, strict=True)}
    except (ValueError, csv.Error):
        return None


def _parser(name: str) -> Callable[[str], Any]:
    """What reads a cell of this column that is not empty."""
    if name == "error":
        return lambda text: None if text == NO_ERROR else text
    if name in _NAMES:
        return partial(_parse_name, _NAMES[name])
    if name in _TEXT:
        return str
    return _parse_whole if name in _WHOLE or name.startswith("kept.") else _parse_number


def _parse_name(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(text[:80])
    return text


def _parse_whole(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _LARGEST:
        raise ValueError(text[:80])
    return number


def _parse_number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError(text[:80])
    return number
