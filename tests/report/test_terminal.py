"""Tables for a terminal."""

from evoprune.report.terminal import COLUMNS, aligned, front_table

BASE = {"flops": 4_133_742_592, "params": 25_557_032, "accuracy": 93.0, "test_accuracy": 92.5}


def test_columns_are_as_wide_as_what_is_in_them():
    assert aligned(["name", "n"], [["a", "1,000"], ["bcdef", "2"]]) == "name       n\na      1,000\nbcdef      2"


def test_a_front_stands_beside_the_base_network():
    rows = [{"key": "k0123456789a", "flops": 2_066_871_296, "params": 10, "accuracy": 90.126, "test_accuracy": 91.0}]
    head, base, line = front_table(rows, BASE).splitlines()
    assert head.split() == ["network", "in", "search", "test", "multiply-adds", "of", "base", "parameters"]
    assert base.split() == ["base", "network", "93.00", "%", "92.50", "%", "4,133,742,592", "100.0", "%", "25,557,032"]
    assert line.split() == ["k0123456789a", "90.13", "%", "91.00", "%", "2,066,871,296", "50.0", "%", "10"]


def test_a_measured_latency_of_the_base_network_is_told_before_any_network_is_trained():
    head, base = front_table([], {**BASE, "latency": 2.18}).splitlines()
    assert head.split()[-1] == "latency" and base.endswith("2.18 ms")


def test_the_widest_table_fits_the_terminal():
    """Every column, with numbers of a network for large images."""
    row = {**BASE, "key": "k0123456789a", "accuracy": 100.0, "test_accuracy": 100.0, "test_accuracy_std": 10.55}
    table = front_table(
        [{**row, "latency": 1234.5, "latency_spread": 12.0}, {**row, "test_accuracy": None, "latency": None}], BASE
    )
    assert "± 10.55" in table and "1.23e+03 ms ±12 %" in table
    assert max(map(len, table.splitlines())) <= COLUMNS
