"""`evoprune evaluate`: accuracy, costs and latency of saved models and ONNX files."""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from commands import refusal
from onnx import numpy_helper

from evoprune.cli import main
from evoprune.common.seals import sealed


@pytest.fixture
def model(copied: Path) -> Path:
    return next((copied / "models").iterdir())


def test_a_model_and_its_onnx_file_beside_the_base_network(copied, model, tmp_path, capsys):
    assert main(["export", str(model), "--format", "onnx"]) == 0
    out = tmp_path / "out"
    assert main(["evaluate", str(model), str(model / "model.onnx"), "--out", str(out)]) == 0
    base, slim, onnx = pd.read_csv(out / "evaluation.csv").to_dict("records")
    row = pd.read_csv(copied / "output.csv").set_index("key").loc[model.name]
    assert base["model"] == str(copied / "base") and base["torch_speed_up_1"] == 1
    assert slim["accuracy"] == pytest.approx(row.test_accuracy, abs=0.3) == onnx["accuracy"]
    assert (slim["flops"], slim["params"]) == (row.flops, row.params) and onnx["flops"] == row.flops
    assert slim["file_bytes"] == (model / "model.safetensors").stat().st_size
    assert onnx["file_bytes"] == (model / "model.onnx").stat().st_size
    for timed in ("torch_ms_1", "torch_ms_128", "onnx_ms_1", "onnx_ms_128"):
        assert slim[timed.replace("ms", "p90_ms")] >= slim[timed.replace("ms", "median_ms")] >= slim[timed] > 0
        assert slim[timed.replace("ms", "speed_up")] > 0 and base[timed.replace("ms", "speed_up")] == 1
        assert slim[timed.replace("ms", "spread")] >= 0
    assert pd.isna(onnx["torch_ms_1"]) and onnx["onnx_ms_1"] > 0
    facts = json.loads((out / "evaluation.json").read_text())
    assert "CPU thread" in facts["PyTorch"] and "test images of tiny" in facts["accuracy"]
    assert "speed-up: over" in capsys.readouterr().out


def test_another_base_and_data_by_name(copied, model, tmp_path, monkeypatch):
    for module in ("evaluate", "model_times"):
        monkeypatch.setattr(f"evoprune.stages.{module}.is_installed", lambda: False)
    alone = model.rename(tmp_path / "alone")
    words = ["--data", "quickstart", "--base", str(copied / "base"), "--out", str(tmp_path)]
    assert main(["evaluate", str(alone), *words]) == 0
    rows = pd.read_csv(tmp_path / "evaluation.csv")
    assert list(rows.model) == [str(copied / "base"), str(alone)] and rows.onnx_ms_1.isna().all()
    assert "pip install" in (tmp_path / "evaluation.md").read_text()


def test_a_model_of_other_classes_is_told(model, tmp_path, monkeypatch):
    """Its accuracy may be that of guesses."""
    monkeypatch.setattr("evoprune.stages.evaluate.measure_times", lambda *_: {"waited": 0.0})
    file = model / "model.json"
    file.write_text(json.dumps(sealed({**json.loads(file.read_text()), "classes": list("abcdefghij")})))
    assert main(["evaluate", str(model), "--out", str(tmp_path)]) == 0
    said = f"tiny, whose classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; those of {model} are a, b, c, d, e, f, g, h, i, j"
    assert said in (tmp_path / "evaluation.md").read_text()


def test_what_cannot_be_evaluated_is_refused(model, tmp_path, capsys):
    assert "no such file" in refusal(capsys, "evaluate", str(tmp_path / "a.onnx"), "--data", "quickstart")
    (tmp_path / "a.onnx").write_bytes(b"")
    assert "--data: no run is around" in refusal(capsys, "evaluate", str(tmp_path / "a.onnx"))
    assert "model.json" in refusal(capsys, "evaluate", str(tmp_path), "--data", "quickstart")
    assert "the folder of a run; name a model in it" in refusal(capsys, "evaluate", str(model.parents[1]))


def test_tables_that_cannot_be_written_are_refused_before_anything_is_measured(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("evoprune.stages.evaluate.measure_times", None)
    (tmp_path / "a").write_text("")
    assert f"{tmp_path / 'a'}: File exists; " in refusal(capsys, "evaluate", str(model), "--out", str(tmp_path / "a"))


def write_onnx(
    path: Path, classes: int = 10, batch: int | str = "batch", inputs: int = 1, external: bool = False
) -> str:
    """Somebody's network for digits: the mean of all pixels by a linear layer."""
    kind = onnx.TensorProto.FLOAT
    make = onnx.helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.ones((1, classes), np.float32), "weights")
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["x0"], ["means"]),
        onnx.helper.make_node("Flatten", ["means"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], ["out"]),
        *[onnx.helper.make_node("Identity", [f"x{i}"], [f"y{i}"]) for i in range(1, inputs)],
    ]
    taken = [make(f"x{i}", kind, [batch, 1, 8, 8]) for i in range(inputs)]
    graph = onnx.helper.make_graph(nodes, "net", taken, [make("out", kind, [batch, classes])], [weights])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, str(path), save_as_external_data=external, location="beside.bin", size_threshold=0)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1}, "cannot run it on float32 images of shape 2x1x8x8, which it is to take in any number"),
        ({"inputs": 2}, "cannot run it on float32 images of shape 2x1x8x8, which it is to take in any number"),
        ({"classes": 7}, "--data: its images have 10 classes; "),
    ],
)
def test_somebodys_file_that_does_not_fit_is_refused_before_anything_is_measured(
    model, tmp_path, capsys, changes, message
):
    file = write_onnx(tmp_path / "a.onnx", **changes)
    assert message in refusal(capsys, "evaluate", str(model), file, "--data", "quickstart")


@pytest.mark.parametrize(("waited", "said"), [(9.0, False), (43.4, True)])
def test_a_busy_machine_is_said(model, tmp_path, monkeypatch, capsys, waited, said):
    monkeypatch.setattr("evoprune.stages.evaluate.measure_times", lambda *_: {"waited": waited})
    assert main(["evaluate", str(model), "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    text = (
        "other processes had the processor for up to 43 % of the time: times are too long and speed-ups unsure; "
        "measure again when nothing else runs"
    )
    assert (facts.get("latency") == text) == said == (text in capsys.readouterr().out)
    assert "waited" not in facts["models"][0]


def test_weights_beside_an_onnx_file_are_a_part_of_it(tmp_path):
    file = write_onnx(tmp_path / "a.onnx", external=True)
    assert main(["evaluate", file, "--data", "quickstart", "--out", str(tmp_path)]) == 0
    (row,) = pd.read_csv(tmp_path / "evaluation.csv").to_dict("records")
    assert row["file_bytes"] == (tmp_path / "a.onnx").stat().st_size + (tmp_path / "beside.bin").stat().st_size
    assert (row["flops"], row["params"]) == (10, 10)
