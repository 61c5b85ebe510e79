"""Latencies as people read them."""

import pytest

from evoprune import UserError
from evoprune.report.latencies import base_latency_ms, latency_cell, latency_text
from evoprune.runs.folder import RunFolder


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_cell_tells_the_spread_where_it_is_too_wide():
    assert latency_cell({"latency": 1.2345}) == "1.23 ms"
    assert latency_cell({"latency": 1.2345, "latency_spread": 3.0}) == "1.23 ms"
    assert latency_cell({"latency": 1.2345, "latency_spread": 5.5}) == "1.23 ms ±6 %"
    assert latency_cell({"latency": None, "latency_spread": None}) == latency_cell({}) == ""


def test_what_latencies_hold_for_is_a_line(folder):
    assert latency_text(folder) == ""
    folder.note(latency={"device": "A CPU", "threads": 1, "precision": "fp32", "batch_size": 2, "base_ms": 3.0})
    assert latency_text(folder) == "latency: 2 images, fp32, A CPU, 1 CPU thread"


def test_a_command_is_named(folder):
    folder.note(latency={"command": ["measure", "{model}"], "base_ms": 3.0})
    assert latency_text(folder) == "latency: by measure {model}"


@pytest.mark.parametrize("damage", ["3", 0, -1.0, True, [], float("nan")])
def test_a_damaged_base_latency_is_named(folder, damage):
    assert base_latency_ms(folder) is None
    folder.note(latency={"base_ms": damage})
    with pytest.raises(UserError, match=r"run\.json: latency\.base_ms"):
        base_latency_ms(folder)


def test_the_base_networks_latency_is_read(folder):
    folder.note(latency={"base_ms": 2})
    assert base_latency_ms(folder) == 2
