"""`reports.csv`: typed rows that survive a crash, and that pandas reads without being told anything."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evoprune import UserError
from evoprune.runs.table import Reports, read_rows, report_columns, write_output
from evoprune.search.front import front_rows, fronts_by_generation, latest_rows
from evoprune.space.space import SearchSpace

NASTY = 'a, "quoted"\nsecond line\r\nthird; \u2028 fourth, \x0c fifth'


@pytest.fixture
def columns(small_space: SearchSpace) -> list[str]:
    return report_columns(small_space, with_latency=True)


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
        "epochs": 0.0,
        "seconds": 1.125,
        "worker": "ray-0",
        "error": None,
        **{f"kept.{name}": width for name, width in space.widths(code).items()},
    }
    return {**row, **changes}


def write(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> Path:
    reports = Reports(path, columns)
    for row in rows:
        reports.append(row)
    return path


@pytest.fixture
def three(small_space: SearchSpace, columns: list[str], tmp_path: Path) -> Path:
    return write(tmp_path / "reports.csv", columns, [make_row(small_space, number) for number in range(3)])


def test_what_is_read_is_what_was_written(three, small_space, columns):
    wanted = [make_row(small_space, number) for number in range(3)]
    for rows in (Reports(three, columns).rows, read_rows(three)):
        assert rows == wanted
        types = [{name: type(value) for name, value in row.items()} for row in rows]
        assert types == [{name: type(value) for name, value in row.items()} for row in wanted]


def test_the_columns_are_the_documented_ones(small_space, columns):
    assert columns[:6] == ["id", "generation", "rung", "proposal", "status", "key"]
    assert columns[6:10] == ["accuracy", "flops", "params", "bandwidth"]
    assert set(make_row(small_space, 0)) == set(columns)
    assert set(columns) - set(report_columns(small_space, with_latency=False)) == {"latency"}
    assert next(name for name in columns if name.startswith("kept.")) == "kept.layer1.0.middle"


def test_a_row_is_on_the_disk_when_append_returns(small_space, columns, tmp_path):
    reports = Reports(tmp_path / "reports.csv", columns)
    for number in range(3):
        reports.append(make_row(small_space, number))
        with (tmp_path / "reports.csv").open(newline="") as file:
            assert [row["id"] for row in csv.DictReader(file)] == [str(i) for i in range(number + 1)]


def test_pandas_needs_no_options(three, columns):
    table = pd.read_csv(three)
    assert table.columns.tolist() == columns
    whole = ["id", "generation", "rung", "flops", "params", "bandwidth", *(c for c in columns if c.startswith("kept."))]
    broken = ["accuracy", "latency", "epochs", "seconds"]
    text = ["proposal", "status", "key", "code", "worker", "error"]
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
    failed = make_row(small_space, 1, status="failed", error=NASTY, accuracy=None, latency=None, seconds=None)
    path = write(tmp_path / "reports.csv", columns, [make_row(small_space, 0), failed, make_row(small_space, 2)])
    assert len(path.read_text().splitlines()) == 4
    row = Reports(path, columns).rows[1]
    assert row["error"] == 'a, "quoted" second line third; fourth, fifth'
    assert row["accuracy"] is None and row["latency"] is None and row["seconds"] is None
    assert pd.read_csv(path).error.tolist() == ["none", row["error"], "none"]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_torn_last_line_is_forgiven_and_written_again(three, small_space, columns, share):
    whole = three.read_text()
    start = whole.rstrip("\n").rindex("\n") + 1
    three.write_text(whole[: start + max(1, int(share * (len(whole) - 1 - start)))])
    reports = Reports(three, columns)
    assert [row["id"] for row in reports.rows] == [0, 1]
    reports.append(make_row(small_space, 2))
    assert three.read_text() == whole


def test_a_last_line_that_lacks_only_its_end_is_torn(three, small_space, columns):
    whole = three.read_text()
    three.write_text(whole.rstrip("\n"))
    reports = Reports(three, columns)
    assert [row["id"] for row in reports.rows] == [0, 1]
    reports.append(make_row(small_space, 2))
    assert three.read_text() == whole


@pytest.mark.parametrize("missing", [2, 100])
def test_reading_rows_forgives_a_torn_last_line_too(three, missing):
    three.write_text(three.read_text()[:-missing])
    assert [row["id"] for row in read_rows(three)] == [0, 1]


@pytest.mark.parametrize("damage", [lambda line: line[:20] + "\n", lambda line: line.replace("1,0", "one,0", 1)])
def test_a_damaged_middle_line_is_named(three, columns, damage):
    lines = three.read_text().splitlines(keepends=True)
    lines[2] = damage(lines[2])
    three.write_text("".join(lines))
    before = three.read_bytes()
    with pytest.raises(UserError, match="line 3 is damaged"):
        Reports(three, columns)
    assert three.read_bytes() == before


def test_a_torn_header_starts_anew(columns, tmp_path):
    for text in ("", "id,gener"):
        (tmp_path / "reports.csv").write_text(text)
        assert Reports(tmp_path / "reports.csv", columns).rows == []
        assert (tmp_path / "reports.csv").read_text() == ",".join(columns) + "\n"


def test_other_columns_are_refused(three, small_space):
    before = three.read_bytes()
    with pytest.raises(UserError, match="columns"):
        Reports(three, report_columns(small_space, with_latency=False))
    assert three.read_bytes() == before


def test_sort_brings_ids_in_order(small_space, columns, tmp_path):
    path = write(tmp_path / "reports.csv", columns, [make_row(small_space, number) for number in (2, 0, 3, 1)])
    reports = Reports(path, columns)
    reports.sort()
    assert [row["id"] for row in reports.rows] == [0, 1, 2, 3]
    assert pd.read_csv(path).id.tolist() == [0, 1, 2, 3]
    assert Reports(path, columns).rows == [make_row(small_space, number) for number in range(4)]


def test_sort_brings_the_rungs_of_a_candidate_together(small_space, columns, tmp_path):
    rows = [make_row(small_space, number, rung=rung) for number, rung in [(0, 0), (1, 0), (2, 0), (1, 1), (0, 1)]]
    path = write(tmp_path / "reports.csv", columns, rows)
    Reports(path, columns).sort()
    table = pd.read_csv(path)
    assert list(zip(table.id, table.rung, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


def test_a_row_is_found_by_candidate_and_rung(three, small_space, columns):
    reports = Reports(three, columns)
    reports.append(make_row(small_space, 1, rung=1, accuracy=70.0))
    assert reports.find(1, 0)["accuracy"] == 50.0 + 1 / 3 and reports.find(1, 1)["accuracy"] == 70.0
    assert reports.find(2, 1) is None and reports.find(3, 0) is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"reports\.csv: no such file"):
        read_rows(tmp_path / "reports.csv")


def test_the_front_is_the_good_rows_cheapest_first(small_space):
    points = [(90.0, 100), (80.0, 50), (85.0, 100), (70.0, 50), (60.0, 10), (80.0, 50)]
    rows = [make_row(small_space, i, accuracy=a, flops=f) for i, (a, f) in enumerate(points)]
    rows.append(make_row(small_space, 6, accuracy=None, flops=1, status="failed"))
    rows.append(make_row(small_space, 7, accuracy=99.0, flops=1, status="infeasible"))
    assert [row["id"] for row in front_rows(rows, ["accuracy", "flops"])] == [4, 1, 5, 0]
    assert front_rows(rows[6:], ["accuracy", "flops"]) == []


def test_a_candidate_is_what_its_highest_rung_says(small_space):
    """Candidate 0 fell from 90 to 70 % on the second rung, where 1 rose; 2 failed there; in any order of rows."""
    rows = [
        make_row(small_space, 0, accuracy=90.0, flops=100),
        make_row(small_space, 0, accuracy=70.0, flops=100, rung=1),
        make_row(small_space, 1, accuracy=75.0, flops=100, rung=1),
        make_row(small_space, 1, accuracy=10.0, flops=100),
        make_row(small_space, 2, accuracy=99.0, flops=100),
        make_row(small_space, 2, accuracy=None, flops=100, rung=1, status="failed"),
    ]
    assert [(row["id"], row["rung"]) for row in latest_rows(rows)] == [(0, 1), (1, 1), (2, 1)]
    assert [(row["id"], row["accuracy"]) for row in front_rows(rows, ["accuracy", "flops"])] == [(1, 75.0)]


def test_fronts_by_generation_are_those_of_all_rows_until_then(small_space):
    points = [(50.0, 90), (40.0, 50), (60.0, 90), (45.0, 60), (30.0, 10), (70.0, 100), (40.0, 50)]
    rows = [make_row(small_space, i, accuracy=a, flops=f) for i, (a, f) in enumerate(points)]
    rows[4]["status"] = "failed"
    fronts = fronts_by_generation(rows[::-1], ["accuracy", "flops"])
    assert [sorted(row["id"] for row in front) for front in fronts] == [
        [0, 1],
        [1, 2, 3],
        [1, 2, 3, 5],
        [1, 2, 3, 5, 6],
    ]
    assert fronts_by_generation([], ["accuracy", "flops"]) == []


def test_output_has_further_columns_behind(small_space, columns, tmp_path):
    rows = [make_row(small_space, 0), make_row(small_space, 1, test_accuracy=91.5, num_seeds=2, model="models/k1")]
    wanted = [*columns, "test_accuracy", "num_seeds", "model"]
    write_output(tmp_path / "output.csv", rows, wanted)
    table = pd.read_csv(tmp_path / "output.csv")
    assert table.columns.tolist() == wanted
    assert table.test_accuracy.isna().tolist() == [True, False]
    assert read_rows(tmp_path / "output.csv")[1]["model"] == "models/k1"
