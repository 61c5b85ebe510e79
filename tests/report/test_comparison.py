"""Models side by side."""

import json
from pathlib import Path

import pandas as pd

from evoprune.report.comparison import columns, comparison_table, terminal_tables, write_comparison
from evoprune.report.terminal import COLUMNS

BASE = {"model": "base", "accuracy": 90.0, "flops": 1000, "params": 200, "file_bytes": 800}
ROWS = [
    {**BASE, "torch_ms_1": 4.0, "torch_median_ms_1": 4.5, "torch_p90_ms_1": 5.0, "torch_speed_up_1": 1.0},
    {
        **BASE,
        "model": "half",
        "flops": 500,
        "torch_ms_1": 2.5,
        "torch_median_ms_1": 2.75,
        "torch_p90_ms_1": 3.0,
        "torch_speed_up_1": 1.6,
    },
    {**BASE, "model": "half.onnx"},
]


def test_the_table_has_what_was_measured_and_no_column_of_what_was_not():
    head, _, _, half, onnx = comparison_table(ROWS).splitlines()
    assert head.endswith("| file, bytes | PyTorch, 1 image |")
    assert half == "| half | 90.00 % | 500 (50 %) | 200 (100 %) | 800 (100 %) | 2.50 ms, median 2.75, p90 3.00, 1.60x |"
    assert onnx.endswith("| not measured |")


def test_on_a_terminal_it_is_two_tables():
    head, _, half, onnx, empty, times, _, fast, none = terminal_tables(ROWS).splitlines()
    assert head.split("  ")[0] == "network" and half.split() == ["half", "90.00", "%", "500", "(50", "%)", "200",
                                                                 "(100", "%)", "800", "(100", "%)"]  # fmt: skip
    assert onnx.startswith("half.onnx") and empty == "" and times.split("  ")[0] == "ms, speed-up; images"
    assert fast.split() == ["half", "2.50", "1.60x"] and none.split() == ["half.onnx", "-"]


def test_it_fits_the_terminal():
    """Four runtimes of networks that lie deep, with millions of all and no two measurements that agree."""
    row = {"accuracy": 98.05, "flops": 40_813_184, "params": 25_557_032, "file_bytes": 102_400_000}
    for place in ("torch_{}_1", "torch_{}_128", "onnx_{}_1", "onnx_{}_128"):
        row |= {place.format("ms"): 14.64, place.format("spread"): 12.0, place.format("speed_up"): 1.06}
        row |= {place.format("speed_up_spread"): 8.0}
    text = terminal_tables([{**row, "model": f"results/long/models/{name}"} for name in ("base", "k" * 40)])
    assert max(map(len, text.splitlines())) <= COLUMNS and "…kkk" in text and "results" not in text
    assert "14.64±12% ~1.06x" in text
    cells = [(runtime, batch) for runtime in ("torch", "onnx") for batch in (1, 128)]
    slow = {f"{runtime}_{name}_ms_{batch}": 20.0 for runtime, batch in cells for name in ("median", "p90")}
    assert "14.64 ms ±12 %, median 20.00, p90 20.00, 1.06x ±8 %" in comparison_table([{**row, **slow, "model": "a"}])


def test_files_have_the_same_numbers(tmp_path: Path):
    write_comparison(tmp_path / "new", ROWS, {"PyTorch": "on a CPU"})
    table = pd.read_csv(tmp_path / "new" / "evaluation.csv")
    assert list(table.columns) == columns() and table.torch_ms_1[1] == 2.5 and table.flops[1] == 500
    document = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert document["PyTorch"] == "on a CPU" and document["models"][1]["torch_speed_up_1"] == 1.6
    assert "PyTorch: on a CPU" in (tmp_path / "new" / "evaluation.md").read_text()
