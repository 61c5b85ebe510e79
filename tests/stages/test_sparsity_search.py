"""The search over sparsities of layers: masks by hand, tables that go on, a front beside two baselines."""

import copy

import pandas as pd
import pytest
from commands import refusal, write_experiment
from helpers import die_at
from steps import fails_where_sparse, make_steps, workspace_of

from evoprune.evaluation.accuracy import accuracy
from evoprune.space.levels import KEPT_SHARES
from evoprune.stages.sparsity_search import front_of, level_space
from evoprune.training.batch_norm import recalibrate

SMALL = {"search": {"random_samples": 6, "num_individual": 4, "generations": 2}}


@pytest.fixture
def searched(steps):
    return steps("search", "--weights", **SMALL)


def test_every_candidate_is_what_masks_by_hand_give(searched):
    workspace = workspace_of(searched)
    rows = pd.read_csv(searched / "sweep" / "search.csv")
    assert (
        rows.proposal.tolist() == ["full"] + ["evolution"] * 13
        and rows.generation.tolist() == [0] * 6 + [1] * 4 + [2] * 4
    )
    row = rows.iloc[7]
    network = copy.deepcopy(workspace.context.base.network)
    for layer in level_space(workspace).pruned:
        weight = network.get_parameter(layer.parameter).data
        share = row[f"sparsity.{layer.name}"]
        order = weight.abs().flatten().argsort(stable=True)
        weight.view(-1)[order[: round(share * weight.numel())]] = 0
    assert row.nonzero_params == sum(int(value.count_nonzero()) for value in network.parameters())
    experiment = workspace.context.experiment
    recalibrate(network, workspace.data, experiment.evaluation.recalibration_images, workspace.compute, experiment.seed)
    assert row.accuracy == accuracy(network, workspace.data, workspace.data.validation, workspace.compute)


def test_the_classifier_stays_and_layers_cost_what_they_are_used(searched):
    space = level_space(workspace_of(searched))
    assert "linear" not in [layer.name for layer in space.pruned] and len(space.pruned) == 21
    stem = space.pruned[0]
    assert (stem.name, stem.size, stem.uses) == ("conv1", 4 * 9, 8 * 8)
    assert space.always[0] == 16 * 10 + 10 + sum(
        value.numel() for name, value in workspace_of(searched).context.base.network.named_parameters() if "bn" in name
    ) + sum(
        value.numel()
        for name, value in workspace_of(searched).context.base.network.named_parameters()
        if "shortcut.1" in name
    )


def test_the_front_is_not_dominated_and_baselines_are_at_every_level(searched):
    rows, front = (pd.read_csv(searched / "sweep" / name) for name in ("search.csv", "search-front.csv"))
    assert front.nonzero_params.is_monotonic_increasing and front.accuracy.is_monotonic_increasing
    for row in front.itertuples():
        better = rows[(rows.accuracy >= row.accuracy) & (rows.nonzero_params <= row.nonzero_params)]
        assert ((better.accuracy == row.accuracy) & (better.nonzero_params == row.nonzero_params)).all()
    baselines = pd.read_csv(searched / "sweep" / "search-baselines.csv")
    assert baselines.proposal.tolist() == ["uniform", "global"] * len(KEPT_SHARES)
    pairs = baselines.nonzero_params.to_numpy().reshape(-1, 2)
    assert (abs(pairs[:, 0] - pairs[:, 1]) <= 21).all(), "rounded in each of 21 layers"
    assert baselines.accuracy.iloc[-2:].nunique() == 1, "nothing is pruned"
    assert (searched / "sweep" / "search-front.png").stat().st_size > 5_000


def test_it_goes_on_row_by_row_to_the_same_tables(steps, searched, tmp_path, monkeypatch, cache):
    (tmp_path / "again").mkdir()
    again = make_steps(tmp_path / "again", cache)
    die_at(monkeypatch, 9)
    run = again("search", "--weights", status=75, **SMALL)
    assert len(pd.read_csv(run / "sweep" / "search.csv")) == 9
    monkeypatch.undo()
    again("search", "--weights", **SMALL)
    for name in ("search.csv", "search-baselines.csv", "search-front.csv"):
        timed = ["seconds", "check"] if name != "search-front.csv" else ["seconds"]
        first, second = (pd.read_csv(each / "sweep" / name).drop(columns=timed) for each in (searched, run))
        pd.testing.assert_frame_equal(first, second)


def test_a_candidate_whose_outputs_are_not_finite_has_failed(steps, monkeypatch):
    monkeypatch.setattr("evoprune.stages.sparsity_search.accuracy", fails_where_sparse(0.7))
    folder = steps("search", "--weights", **SMALL) / "sweep"
    rows, front, baselines = (
        pd.read_csv(folder / f"{name}.csv") for name in ("search", "search-front", "search-baselines")
    )
    assert rows.accuracy.isna().any() and baselines.accuracy.isna().any() and len(rows) == 14
    assert front.accuracy.notna().all() and len(front) > 0


def test_the_front_of_equal_rows_has_them_all():
    rows = [{"accuracy": a, "nonzero_params": n} for a, n in ((50.0, 9), (60.0, 9), (60.0, 12), (40.0, 3), (60.0, 9))]
    rows.append({"accuracy": None, "nonzero_params": 1})
    assert [row["nonzero_params"] for row in front_of(rows)] == [3, 9, 9]


def test_a_mistake_is_told_as_everywhere(tmp_path, capsys, cache):
    file = write_experiment(tmp_path, base={"cache": str(cache)})
    assert "search.generations" in refusal(capsys, "search", file, "--weights", "--set", "search.generations=-1")


def test_a_longer_search_measures_its_baselines_once(steps, searched, tmp_path, cache):
    (tmp_path / "longer").mkdir()
    longer = make_steps(tmp_path / "longer", cache)
    run = longer("search", "--weights", **SMALL)
    before = (run / "sweep" / "search-baselines.csv").read_bytes()
    longer("search", "--weights", search={**SMALL["search"], "generations": 3})
    assert (run / "sweep" / "search-baselines.csv").read_bytes() == before
    assert len(pd.read_csv(run / "sweep" / "search.csv")) > len(pd.read_csv(searched / "sweep" / "search.csv"))
