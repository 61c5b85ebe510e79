"""Models side by side."""

import json
from pathlib import Path

import pandas as pd

from evoprune.report.comparison import columns, comparison_table, write_comparison

BASE = {"model": "base", "accuracy": 90.0, "flops": 1000, "params": 200, "file_bytes": 800}
ROWS = [
    {**BASE, "torch_ms_1": 4.0, "torch_p90_ms_1": 5.0, "torch_speed_up_1": 1.0},
    {**BASE, "model": "half", "flops": 500, "torch_ms_1": 2.5, "torch_p90_ms_1": 3.0, "torch_speed_up_1": 1.6},
    {**BASE, "model": "half.onnx"},
]


def test_the_table_has_what_was_measured_and_no_column_of_what_was_not():
    head, _, _, half, onnx = comparison_table(ROWS).splitlines()
    assert head.endswith("| file, bytes | PyTorch, 1 image |")
    assert half == "| half | 90.00 % | 500 (50 %) | 200 (100 %) | 800 (100 %) | 2.50 ms, p90 3.00, 1.60x |"
    assert onnx.endswith("| not measured |")


def test_files_have_the_same_numbers(tmp_path: Path):
    write_comparison(tmp_path / "new", ROWS, {"PyTorch": "on a CPU"})
    table = pd.read_csv(tmp_path / "new" / "evaluation.csv")
    assert list(table.columns) == columns() and table.torch_ms_1[1] == 2.5 and table.flops[1] == 500
    document = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert document["PyTorch"] == "on a CPU" and document["models"][1]["torch_speed_up_1"] == 1.6
    assert "PyTorch: on a CPU" in (tmp_path / "new" / "evaluation.md").read_text()
