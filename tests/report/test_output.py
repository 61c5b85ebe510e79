"""Tables of results: what is on the front, what was trained of it, and what each step of a pruning measured."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evoprune.report.output import write_front, write_hypervolumes, write_summary
from evoprune.runs.folder import RunFolder
from evoprune.runs.models import Pruning, step_folder, training_settings
from evoprune.runs.table import read_rows
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_uniform
from evoprune.space.space import Code, SearchSpace


def save(folder: Path, **facts: Any) -> None:
    """A model whose weights are a few bytes."""
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({"format": 1, "network": {}, **facts}))
    (folder / "model.safetensors").write_bytes(b"weights")


def code_of(space: SearchSpace, rate: float) -> Code:
    return prune_uniform(space, np.zeros(space.length), rate)


def row_of(space: SearchSpace, number: int, rate: float, accuracy: float, **changes: Any) -> dict[str, Any]:
    code = code_of(space, rate)
    row = {
        **{"id": number, "generation": 0, "rung": 0, "proposal": "evolution", "status": "ok", "error": None},
        **{"key": space.key(code), "code": space.format_code(code), "accuracy": accuracy, "epochs": 0.0},
        **{"seconds": 1.0, "worker": "local", **code_costs(space, code)},
        **{f"kept.{name}": width for name, width in space.widths(code).items()},
    }
    return {**row, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def rows(small_space: SearchSpace) -> list[dict[str, Any]]:
    """On the front, cheapest first: 2, 1, 0."""
    points = [(0.0, 90.0), (0.25, 85.0), (0.5, 80.0), (0.5, 99.0), (0.25, 70.0)]
    made = [row_of(small_space, number, *point) for number, point in enumerate(points)]
    made[3]["status"] = "infeasible"
    return made


def test_nothing_is_trained_yet(folder, rows, tiny, small_space):
    assert [row["id"] for row in write_front(folder, rows, tiny(), small_space)] == [2, 1, 0]
    assert read_rows(folder.output) == [rows[2], rows[1], rows[0]]
    assert not {"test_accuracy", "num_seeds", "model"} & set(pd.read_csv(folder.output).columns)


def test_mean_and_spread_are_those_of_the_seeds(folder, rows, tiny, small_space):
    experiment = tiny(retrain={"seeds": 3})
    training = training_settings(experiment)
    tests = [80.0, 81.0, 84.0]
    for seed, tested in enumerate(tests):
        save(folder.model(rows[1]["key"], seed), seed=seed, test_accuracy=tested, training=training)
    save(folder.model(rows[0]["key"]), seed=0, test_accuracy=89.0, training=training)
    save(folder.model(rows[2]["key"]), seed=0, test_accuracy=10.0, training={**training, "lr": 0.9})
    write_front(folder, rows, experiment, small_space)
    found = pd.read_csv(folder.output).set_index("id")
    assert found.num_seeds.tolist() == [1, 3, 1] and found.num_seeds.dtype == "int64"
    assert found.test_accuracy[1] == pytest.approx(statistics.fmean(tests), abs=1e-4)
    assert found.test_accuracy_std[1] == pytest.approx(statistics.stdev(tests), abs=1e-4)
    assert found.test_accuracy[0] == 89.0 and np.isnan(found.test_accuracy_std[0]), "one has no spread"
    assert found.test_accuracy[2] == 10.0, "it was trained otherwise: results only grow"
    assert found.model[1] == str(folder.model(rows[1]["key"]))


def test_what_is_known_of_models_that_are_gone_is_kept(folder, rows, tiny, small_space):
    save(folder.model(rows[1]["key"]), seed=0, test_accuracy=83.0, training=training_settings(tiny()))
    write_front(folder, rows, tiny(), small_space)
    before = folder.output.read_bytes()
    shutil.rmtree(folder.path / "models")
    write_front(folder, rows, tiny(), small_space)
    assert folder.output.read_bytes() == before
    folder.model(rows[1]["key"]).mkdir(parents=True)  # as a training that begins leaves it, with its checkpoint
    write_front(folder, rows, tiny(), small_space)
    assert folder.output.read_bytes() == before
    pd.read_csv(folder.output).drop(columns="num_seeds").to_csv(folder.output, index=False)
    assert [row.get("test_accuracy") for row in write_front(folder, rows, tiny(), small_space)] == [None, 83.0, None]
    folder.output.write_bytes(before)
    save(folder.model(rows[0]["key"]), seed=0, test_accuracy=89.0, training=training_settings(tiny()))
    write_front(folder, rows, tiny(), small_space)
    assert pd.read_csv(folder.output).num_seeds.tolist() == [0, 1, 1], "results only grow"


def test_number_of_seeds_is_a_whole_number_in_every_row_of_a_run(ran):
    front = pd.read_csv(ran / "output.csv")
    assert front.num_seeds.dtype == "int64"
    assert (front.num_seeds == front.test_accuracy.notna()).all()


def test_a_summary_has_a_row_for_the_base_network_and_each_finished_step(folder, small_space):
    pruning = Pruning("magnitude", "rate-0.5", 2, {"lr": 0.1})
    save(folder.base)
    codes = {1: code_of(small_space, 0.25), 2: code_of(small_space, 0.5)}
    measured = {"accuracy_before": 91.0, "accuracy_cut": 20.0, "accuracy_recalibrated": 50.0, "accuracy": 88.0}

    def summary() -> tuple[str, pd.DataFrame]:
        text = write_summary(folder, pruning, small_space, {"validation_accuracy": 91.0, "test_accuracy": 90.0})
        path = folder.pruned("magnitude-rate-0.5-steps-2")
        assert (path / "summary.md").read_text() == text + "\n"
        return text, pd.read_csv(path / "summary.csv")

    assert summary()[1].step.tolist() == [0]
    for step in (1, 2):
        facts = {**pruning.facts(step), "code": small_space.format_code(codes[step]), **measured}
        save(step_folder(folder, pruning, step), **facts, **({"test_accuracy": 87.0} if step == 2 else {}))
    text, table = summary()
    assert table.step.tolist() == [0, 1, 2] and text.count("\n") == 4
    assert table.accuracy.tolist() == [91.0, 88.0, 88.0]
    assert table.accuracy_cut.isna().tolist() == [True, False, False]
    assert table.test_accuracy.isna().tolist() == [False, True, False]
    assert table.rate.tolist() == [0.0, *(round(float((code == 0).mean()), 6) for code in codes.values())]
    assert table.flops[2] == code_costs(small_space, codes[2])["flops"]
    assert table.file_bytes.tolist() == [len(b"weights")] * 3
    assert table.model[1] == str(folder.pruned(pruning.name) / "step_1")
    assert (small_space.parse_code(table.code[2]) == codes[2]).all()
    assert table["kept.stem"].tolist() == [4, 3, 2]


def test_hypervolume_has_a_row_for_each_candidate(small_space, tmp_path):
    rows = [row_of(small_space, 4, 0.5, 40.0), row_of(small_space, 5, 0.5, 60.0, generation=1)]
    write_hypervolumes(tmp_path / "hypervolume.csv", rows, ["accuracy", "flops"], small_space)
    table = pd.read_csv(tmp_path / "hypervolume.csv")
    assert list(table.evaluation) == [1, 2] and list(table.id) == [4, 5] and list(table.generation) == [0, 1]
    share = rows[0]["flops"] / code_costs(small_space, small_space.full_code())["flops"]
    assert list(table.hypervolume) == pytest.approx([0.4 * (1 - share), 0.6 * (1 - share)], abs=1e-6)
