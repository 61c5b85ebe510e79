"""Tables: typed rows that survive a crash, and that pandas reads without being told anything."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evoprune import UserError
from evoprune.runs.reports_csv import NEWER, report_columns
from evoprune.runs.table import Table, read_rows, write_table
from evoprune.space.space import SearchSpace

NASTY = 'a, "quoted"\nsecond line\r\nthird; \u2028 fourth, \x0c fifth \udcff'


def names(space: SearchSpace) -> list[str]:
    return [segment.name for segment in space.segments]


@pytest.fixture
def columns(small_space: SearchSpace) -> list[str]:
    return report_columns(names(small_space), with_latency=True)


def make_row(space: SearchSpace, number: int, **changes: Any) -> dict[str, Any]:
    code = space.full_code()
    code[:number] = 0
    row = {
        "id": number,
        "generation": number // 2,
        "rung": 0,
        "proposal": "evolution",
        "status": "ok",
        "key": space.key(code),
        "code": space.format_code(code),
        "accuracy": 50.0 + number / 3,
        "flops": 1_000_000_007 + number,
        "params": 1000 - number,
        "bandwidth": 12345 * (number + 1),
        "latency": 0.25,
        "latency_spread": 1.5,
        "epochs": 0.0,
        "seconds": 1.125,
        "worker": "ray-0",
        "error": None,
        **{f"kept.{name}": width for name, width in space.widths(code).items()},
    }
    return {**row, **changes}


def write(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> Path:
    table = Table(path, columns)
    for row in rows:
        table.append(row)
    return path


@pytest.fixture
def three(small_space: SearchSpace, columns: list[str], tmp_path: Path) -> Path:
    return write(tmp_path / "reports.csv", columns, [make_row(small_space, number) for number in range(3)])


def test_what_is_read_is_what_was_written(three, small_space, columns):
    wanted = [make_row(small_space, number) for number in range(3)]
    for rows in (Table(three, columns).rows, read_rows(three)):
        assert rows == wanted
        types = [{name: type(value) for name, value in row.items()} for row in rows]
        assert types == [{name: type(value) for name, value in row.items()} for row in wanted]


def test_a_row_is_on_the_disk_when_append_returns(small_space, columns, tmp_path):
    table = Table(tmp_path / "reports.csv", columns)
    for number in range(3):
        table.append(make_row(small_space, number))
        with (tmp_path / "reports.csv").open(newline="") as file:
            assert [row["id"] for row in csv.DictReader(file)] == [str(i) for i in range(number + 1)]


def test_pandas_needs_no_options(three, columns):
    table = pd.read_csv(three)
    assert table.columns.tolist() == [*columns, "check"]
    whole = ["id", "generation", "rung", "flops", "params", "bandwidth", *(c for c in columns if c.startswith("kept."))]
    broken = ["accuracy", "latency", "epochs", "seconds"]
    text = ["proposal", "status", "key", "code", "worker", "error", "check"]
    assert all(pd.api.types.is_integer_dtype(table[name]) for name in whole)
    assert all(pd.api.types.is_float_dtype(table[name]) for name in broken)
    assert all(pd.api.types.is_string_dtype(table[name]) for name in text)
    assert table[text].notna().all().all()


def test_codes_are_never_numbers_for_pandas(columns, tmp_path, small_space):
    for code in (small_space.full_code(), small_space.repair(small_space.full_code() * 0)):
        changes = {"code": small_space.format_code(code), "key": small_space.key(code)}
        path = write(tmp_path / f"{changes['key']}.csv", columns, [make_row(small_space, 0, **changes)])
        table = pd.read_csv(path)
        assert (small_space.parse_code(table.code[0]) == code).all()
        assert table.key[0] == changes["key"]


def test_a_failed_row_keeps_its_reason_on_one_line(small_space, columns, tmp_path):
    failed = make_row(small_space, 1, status="failed", error=NASTY, worker="\udcff", accuracy=None, latency=None)
    path = write(tmp_path / "reports.csv", columns, [make_row(small_space, 0), failed, make_row(small_space, 2)])
    assert len(path.read_text().splitlines()) == 4
    row = Table(path, columns).rows[1]
    assert row["error"] == 'a, "quoted" second line third; fourth, fifth \\udcff'
    assert row["accuracy"] is None and row["latency"] is None and row["worker"] == r"\udcff"
    assert pd.read_csv(path).error.tolist() == ["none", row["error"], "none"]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_torn_last_line_is_forgiven_and_written_again(three, small_space, columns, share):
    whole = three.read_text()
    start = whole.rstrip("\n").rindex("\n") + 1
    three.write_text(whole[: start + max(1, int(share * (len(whole) - 1 - start)))])
    table = Table(three, columns)
    assert [row["id"] for row in table.rows] == [0, 1]
    table.append(make_row(small_space, 2))
    assert three.read_text() == whole


def test_a_last_line_that_lacks_only_its_end_is_torn(three, small_space, columns):
    whole = three.read_text()
    three.write_text(whole.rstrip("\n"))
    table = Table(three, columns)
    assert [row["id"] for row in table.rows] == [0, 1]
    table.append(make_row(small_space, 2))
    assert three.read_text() == whole


@pytest.mark.parametrize("missing", [2, 100])
def test_reading_rows_forgives_a_torn_last_line_too(three, missing):
    three.write_text(three.read_text()[:-missing])
    assert [row["id"] for row in read_rows(three)] == [0, 1]


@pytest.mark.parametrize("damage", [lambda line: line[:20] + "\n", lambda line: line.replace("1,0", "one,0", 1)])
def test_a_damaged_middle_line_is_named(three, columns, damage):
    lines = three.read_text().splitlines(keepends=True)
    three.write_text(before := "".join([*lines[:2], damage(lines[2]), *lines[3:]]))
    with pytest.raises(UserError, match="line 3 is damaged"):
        Table(three, columns)
    assert three.read_text() == before


def test_a_table_that_an_editor_has_stored_is_read(three, columns):
    rows = read_rows(three)
    three.write_bytes(b"\xef\xbb\xbf" + three.read_bytes().replace(b"\n", b"\r\n"))
    assert read_rows(three) == rows == Table(three, columns).rows


def test_a_torn_header_starts_anew(columns, tmp_path):
    for text in ("", "id,gener"):
        (tmp_path / "reports.csv").write_text(text)
        assert Table(tmp_path / "reports.csv", columns).rows == []
        assert (tmp_path / "reports.csv").read_text() == ",".join([*columns, "check"]) + "\n"


def test_other_columns_are_refused(three, small_space):
    before = three.read_bytes()
    with pytest.raises(UserError, match="columns"):
        Table(three, report_columns(names(small_space), with_latency=False))
    assert three.read_bytes() == before


def test_a_table_of_an_earlier_version_gets_the_newer_columns_empty(columns, three):
    before = pd.read_csv(three, keep_default_na=False, dtype=str).drop(columns=["latency_spread", "check"])
    before.to_csv(three, index=False)
    with pytest.raises(UserError, match="columns"):
        Table(three, columns)
    rows = Table(three, columns, newer=NEWER).rows
    assert [row["latency"] for row in rows] == [0.25] * 3 and [row["latency_spread"] for row in rows] == [None] * 3
    after = pd.read_csv(three, keep_default_na=False, dtype=str)
    assert after.drop(columns=["latency_spread", "check"]).equals(before) and list(after.columns) == [*columns, "check"]
    assert Table(three, columns, newer=NEWER).rows == rows


def test_sort_brings_ids_in_order(small_space, columns, tmp_path):
    path = write(tmp_path / "reports.csv", columns, [make_row(small_space, number) for number in (2, 0, 3, 1)])
    table = Table(path, columns)
    table.sort()
    assert [row["id"] for row in table.rows] == [0, 1, 2, 3]
    assert pd.read_csv(path).id.tolist() == [0, 1, 2, 3]
    assert Table(path, columns).rows == [make_row(small_space, number) for number in range(4)]


def test_sort_brings_the_rungs_of_a_candidate_together(small_space, columns, tmp_path):
    rows = [make_row(small_space, number, rung=rung) for number, rung in [(0, 0), (1, 0), (2, 0), (1, 1), (0, 1)]]
    path = write(tmp_path / "reports.csv", columns, rows)
    Table(path, columns).sort()
    found = pd.read_csv(path)
    assert list(zip(found.id, found.rung, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


def test_a_row_is_found_by_candidate_and_rung(three, small_space, columns):
    table = Table(three, columns)
    table.append(make_row(small_space, 1, rung=1, accuracy=70.0))
    assert table.find(1, 0)["accuracy"] == 50.0 + 1 / 3 and table.find(1, 1)["accuracy"] == 70.0
    assert table.find(2, 1) is None and table.find(3, 0) is None


def test_a_row_of_a_place_that_is_taken_replaces_it_and_comes_last(three, small_space, columns):
    table = Table(three, columns)
    again = make_row(small_space, 1, accuracy=80.0)
    table.append(again)
    assert table.find(1, 0) is again
    for rows in (table.rows, read_rows(three), Table(three, columns).rows):
        assert [(row["id"], row["accuracy"]) for row in rows] == [(0, 50.0), (2, 50.0 + 2 / 3), (1, 80.0)]
    table.append(make_row(small_space, 3))
    assert [row["id"] for row in read_rows(three)] == [0, 2, 1, 3]
    table.sort()
    assert [row["id"] for row in read_rows(three)] == [0, 1, 2, 3]


def test_other_columns_may_say_which_row_it_is(tmp_path):
    table = Table(tmp_path / "curves.csv", ["segment", "id", "accuracy"], place=("id",))
    for number, accuracy in ((1, 50.0), (0, 40.0), (1, 60.0)):
        table.append({"segment": "stem", "id": number, "accuracy": accuracy})
    table.sort()
    without = [line.rpartition(",")[0] for line in (tmp_path / "curves.csv").read_text().splitlines()]
    assert without == ["segment,id,accuracy", "stem,0,40.0", "stem,1,60.0"]
    assert table.find(1) == {"segment": "stem", "id": 1, "accuracy": 60.0}


def test_a_column_may_have_a_comma_in_its_name(tmp_path):
    """torch allows one in the names of modules."""
    path, columns = tmp_path / "reports.csv", ["id", "kept.ops.3,3", 'kept.ops."a"']
    Table(path, columns, place=("id",)).append({"id": 0, "kept.ops.3,3": 2, 'kept.ops."a"': 4})
    assert pd.read_csv(path).columns.tolist() == [*columns, "check"]
    again = Table(path, columns, place=("id",))
    assert again.rows == read_rows(path) == [{"id": 0, "kept.ops.3,3": 2, 'kept.ops."a"': 4}]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"reports\.csv: no such file"):
        read_rows(tmp_path / "reports.csv")


def test_output_has_further_columns_behind(small_space, columns, tmp_path):
    rows = [make_row(small_space, 0), make_row(small_space, 1, test_accuracy=91.5, num_seeds=2, model="models/k1")]
    wanted = [*columns, "test_accuracy", "num_seeds", "model"]
    write_table(tmp_path / "output.csv", rows, wanted)
    table = pd.read_csv(tmp_path / "output.csv")
    assert table.columns.tolist() == wanted
    assert table.test_accuracy.isna().tolist() == [True, False]
    assert read_rows(tmp_path / "output.csv")[1]["model"] == "models/k1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n1,0,", "\n0,0,"),
        ("\n1,0,", "\n,0,"),
        ("\n1,0,", "\n" + "9" * 30 + ",0,"),
        (",k", ",k/../"),
        (",h", ",hello"),
        (",0.25,", ",nan,"),
    ],
)
def test_a_cell_that_no_row_has_is_a_damaged_line(three, columns, old, new):
    write_table(three, read_rows(three), columns)  # as an earlier version did, without checksums
    three.write_text(three.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"line [23] is damaged; delete that line"):
        Table(three, columns)


def test_a_single_changed_character_anywhere_is_noticed(three, columns):
    """A digit of an accuracy would change the front in silence; the last line is measured again."""
    whole = three.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        three.write_bytes(damaged)
        if place < last:
            with pytest.raises(UserError, match=rf"{three.name}: "):
                Table(three, columns)
        else:
            assert [row["id"] for row in Table(three, columns).rows] == [0, 1]


def test_a_table_of_an_earlier_version_gets_its_checksums(three, columns):
    whole = three.read_text()
    write_table(three, read_rows(three), columns)
    assert three.read_text() != whole
    assert [row["id"] for row in Table(three, columns).rows] == [0, 1, 2]
    assert three.read_text() == whole


@pytest.mark.parametrize("content", [b"garbage", bytes(500), b"\xff\xfe\n", b"\nid,key"])
def test_what_is_no_table_is_not_written_over(tmp_path, columns, content):
    (tmp_path / "reports.csv").write_bytes(content)
    for read in (read_rows, lambda path: Table(path, columns)):
        if content.endswith(b"\n") and read is read_rows:
            continue
        with pytest.raises(UserError, match=r"reports\.csv: "):
            read(tmp_path / "reports.csv")
    assert (tmp_path / "reports.csv").read_bytes() == content
