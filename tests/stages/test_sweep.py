"""The sweep over sparsities: its ends, each point from the dense weights, and going on row by row."""

import zlib

import pandas as pd
import pytest
import torch
from commands import refusal, set_all, write_experiment
from helpers import ROOT, die_at
from steps import fails_where_sparse, workspace_of

from evoprune import load_model
from evoprune.evaluation.accuracy import accuracy
from evoprune.pruning.weights.masks import apply_masks, smallest_out
from evoprune.pruning.weights.sparsities import Group


@pytest.fixture
def few_points(monkeypatch):
    monkeypatch.setattr("evoprune.stages.sweep.NUM_POINTS", 5)


def table_of(run, name: str) -> pd.DataFrame:
    return pd.read_csv(run / "sweep" / f"{name}.csv").set_index("id")


def test_it_goes_from_the_dense_network_to_chance(steps, capsys):
    run = steps("sweep", "--weights", "--scope", "layer", "--epochs", "0")
    table = table_of(run, "weights-layer")
    assert (100 * table.sparsity).round().tolist() == list(range(0, 101, 5))
    workspace = workspace_of(run)
    base = load_model(run / "base")
    assert table.accuracy[0] == workspace.context.base.info["validation_accuracy"]
    assert table.nonzero_params[0] == table.params[0] == sum(value.numel() for value in base.parameters())
    labels = workspace.data.validation.labels
    shares = 100 * torch.bincount(labels) / len(labels)
    assert min(abs(float(share) - table.accuracy[20]) for share in shares) < 1e-3, "one class for all"
    convolutions = [value for value in base.parameters() if value.dim() == 4]
    assert table.nonzero_params[20] == table.params[0] - sum(value.numel() for value in convolutions)
    assert (table.achieved - table.sparsity).abs().max() < 0.01 and table.zipped_bytes.is_monotonic_decreasing
    assert table.accuracy_finetuned.isna().all()
    assert not (run / "base" / "moments.safetensors").exists(), "for slim networks alone, and they take long"
    printed = capsys.readouterr().out
    assert printed.count("(knee)") == 1 and (run / "sweep" / "weights-layer.png").is_file()


def test_each_point_is_the_dense_network_under_masks_of_that_sparsity(steps, few_points):
    run = steps("sweep", "--weights", "--epochs", "0")
    table, workspace = table_of(run, "weights-global"), workspace_of(run)
    for share, measured in zip(table.sparsity, table.accuracy, strict=True):
        network = load_model(run / "base")
        names = tuple(name for name, value in network.named_parameters() if value.dim() == 4)
        apply_masks(network, smallest_out(network, [Group(names, share)]))
        assert accuracy(network, workspace.data, workspace.data.validation) == measured


def test_a_layer_of_two_names_is_weighed_as_it_is_saved(steps, few_points):
    source = f"{ROOT / 'tests' / 'strangers.py'}:make_shared"
    run = steps("sweep", "--weights", "--epochs", "0", network={"source": source}, search_space=None)
    content = (run / "base" / "model.safetensors").read_bytes()
    assert table_of(run, "weights-global").zipped_bytes[0] == len(zlib.compress(content))


def test_a_network_whose_outputs_are_not_finite_leaves_an_empty_accuracy(steps, few_points, monkeypatch, capsys):
    """As one that divides features by their norm, once all of them are zero."""
    monkeypatch.setattr("evoprune.stages.sweep.accuracy", fails_where_sparse(0.99))
    table = table_of(steps("sweep", "--weights", "--epochs", "0.2"), "weights-global-epochs-0.2")
    assert table.accuracy.isna().tolist() == table.accuracy_finetuned.isna().tolist() == [False] * 4 + [True]
    assert "the network's output is not finite" in capsys.readouterr().out


def test_it_goes_on_row_by_row_to_the_same_table(steps, tmp_path, few_points, monkeypatch):
    words = ("--weights", "--epochs", "0.5")
    with monkeypatch.context() as patch:
        die_at(patch, 2)
        run = steps("sweep", *words, status=75)
    before = (run / "sweep" / "weights-global-epochs-0.5.csv").read_text()
    assert len(before.splitlines()) == 3
    steps("sweep", *words)
    after = (run / "sweep" / "weights-global-epochs-0.5.csv").read_text()
    assert after.startswith(before)
    run.rename(tmp_path / "first")
    steps("sweep", *words)
    whole = [table_of(path, "weights-global-epochs-0.5") for path in (run, tmp_path / "first")]
    tables = [table.drop(columns=["seconds", "check"]) for table in whole]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0].accuracy_finetuned.notna().all() and (tables[0].epochs == 0.5).all()


def test_fine_tuning_is_by_all_keys_of_retrain(steps, few_points, tmp_path):
    tables = []
    for index, change in enumerate(("retrain.averaging=null", "retrain.averaging=0.9", "retrain.distillation={}")):
        run = steps("sweep", "--weights", "--epochs", "0.5", *set_all(change))
        tables.append(table_of(run, "weights-global-epochs-0.5").accuracy_finetuned.tolist())
        (run / "sweep").rename(tmp_path / f"sweep-{index}")
    assert tables[0] != tables[1] and tables[0] != tables[2]


def test_a_table_of_another_fine_tuning_is_kept(steps, few_points, capsys):
    run = steps("sweep", "--weights", "--epochs", "0.2")
    before = (run / "sweep" / "weights-global-epochs-0.2.csv").read_text()
    steps("sweep", "--weights", "--epochs", "0.2", *set_all("retrain.lr=0.001"), status=2)
    assert "other keys of retrain" in capsys.readouterr().err
    assert (run / "sweep" / "weights-global-epochs-0.2.csv").read_text() == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "--weights"),
        (("--weights", "--epochs", "-1"), "--epochs is a number of at least 0; got -1"),
        (("--weights", "--epochs", "nan"), "--epochs"),
        (("--weights", "--scope", "all"), "weights.scope"),
        (("--weights", "--set", "retrain.from=scratch"), "sweep trains inherited weights on"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path, capsys, words, part):
    assert part in refusal(capsys, "sweep", write_experiment(tmp_path), "--out", str(tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()
