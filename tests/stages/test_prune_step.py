"""The step that prunes: what goes, what the masks keep, and that nothing else changes."""

from itertools import pairwise

import pandas as pd
import pytest
import torch
from commands import refusal, set_all, write_experiment
from steps import files_of, summary, workspace_of

from evoprune import load_model
from evoprune.networks.counts import count
from evoprune.runs.rounds import rounds_of


def zeros(network: torch.nn.Module, names: list[str]) -> float:
    weights = torch.cat([network.get_parameter(name).flatten() for name in names])
    return float((weights == 0).double().mean())


def prunable(network: torch.nn.Module) -> list[str]:
    """By hand: the convolutions; the one linear layer writes the logits."""
    return [name for name, parameter in network.named_parameters() if parameter.dim() == 4]


def test_single_weights_go_from_all_layers_but_the_classifier(steps):
    run = steps("prune", "--weights", "--sparsity", "0.4")
    base, pruned = load_model(run / "base"), load_model(run / "steps/round_1/pruned")
    assert zeros(pruned, prunable(base)) == pytest.approx(0.4, abs=1e-4)
    truth = torch.cat([base.get_parameter(name).abs().flatten() for name in prunable(base)])
    threshold = truth.sort().values[round(0.4 * len(truth)) - 1]
    for name in prunable(base):
        before, after = base.get_parameter(name), pruned.get_parameter(name)
        assert torch.equal(after, torch.where(before.abs() > threshold, before, 0.0))
    assert torch.equal(base.linear.weight, pruned.linear.weight)
    counts = count(pruned, torch.zeros(1, 1, 8, 8))
    row = summary(run).loc[(1, "pruned")]
    assert (row.params, row.nonzero_params) == (counts.params, counts.nonzero_params)
    assert (row.flops, row.nonzero_flops) == (counts.flops, counts.nonzero_flops) and row.nonzero_flops < row.flops
    assert not any("mask" in name for name in pruned.state_dict())


def test_ratios_by_layer_and_scope_layer(steps):
    keys = set_all("weights.layers={conv1: 0.5, 'layer3.*.conv2': 0.9, linear: 0.25}")
    run = steps("prune", "--weights", "--sparsity", "0.7", "--scope", "layer", *keys)
    pruned = load_model(run / "steps/round_1/pruned")
    for name in [*prunable(pruned), "linear.weight"]:
        special = name.startswith("layer3.") and name.endswith("conv2.weight")
        wanted = {"conv1.weight": 0.5, "linear.weight": 0.25}.get(name, 0.9 if special else 0.7)
        parameter = pruned.get_parameter(name)
        assert int((parameter == 0).sum()) == round(wanted * parameter.numel()), name


def test_a_rising_sparsity_begins_where_its_schedule_does(steps):
    run = steps("prune", "--weights", "--sparsity", "0.8", *set_all("weights.schedule=cubic"))
    assert zeros(load_model(run / "steps/round_1/pruned"), ["conv1.weight"]) == 0


def test_channels_go_by_the_curves_that_analyse_has_left(stepped):
    run = stepped("prune", "--rate", "0.3", "--step")
    table = summary(run)
    base, pruned = table.loc[(0, "base")], table.loc[(1, "pruned")]
    assert base.nonzero_flops == base.flops == pruned.flops, "nothing is lighter before transform"
    assert 0.6 * base.flops < pruned.nonzero_flops <= 0.7 * base.flops
    workspace = workspace_of(run)
    network, masks, code = workspace.load(rounds_of(workspace.context.folder)[0], "pruned")
    widths = workspace.context.space.widths(code)
    for name, mask in masks.items():
        assert not network.get_parameter(name)[~mask].any()
    for block in ("layer1.0", "layer3.2"):
        alive = network.get_parameter(f"{block}.conv1.weight").flatten(1).any(1)
        assert int(alive.sum()) == widths[f"{block}.middle"]


def test_the_same_command_again_does_nothing_and_prints_the_table(stepped, capsys):
    run = stepped("prune", "--rate", "0.3", "--step")
    before, printed = files_of(run), capsys.readouterr().out
    stepped("prune", "--rate", "0.3", "--step")
    assert files_of(run) == before
    assert "| 1 | pruned |" in printed and "| 1 | pruned |" in capsys.readouterr().out


def test_a_second_round_is_nested_and_of_the_original_network(stepped):
    run = stepped("prune", "--rate", "0.2", "--step")
    stepped("finetune")
    stepped("prune", "--rate", "0.5", "--step")
    stepped("finetune")
    stepped("prune", "--weights", "--sparsity", "0.8")
    workspace = workspace_of(run)
    loaded = [workspace.load(each, "pruned") for each in rounds_of(workspace.context.folder)]
    assert (loaded[1][2] <= loaded[0][2]).all() and (loaded[1][2] == loaded[2][2]).all()
    for (_, before, _), (_, after, _) in pairwise(loaded):
        assert all((after[name] <= mask).all() for name, mask in before.items())
    table = summary(run)
    assert table.loc[(2, "pruned")].nonzero_flops <= 0.5 * table.loc[(0, "base")].flops
    assert list(table.index) == [
        (0, "base"),
        (1, "pruned"),
        (1, "finetuned"),
        (2, "pruned"),
        (2, "finetuned"),
        (3, "pruned"),
    ]


REFUSED = [
    (("--weights", "--sparsity", "1.5"), ["weights.sparsity", "1.5", "less than 1"]),
    (("--weights", "--sparsity", "much"), ["weights.sparsity", "much"]),
    (("--weights",), ["--sparsity", "weights.layers"]),
    (("--weights", "--sparsity", "0.5", "--scope", "block"), ["weights.scope", "block", "global"]),
    (("--weights", "--sparsity", "0.5", "--rate", "0.5"), ["--weights takes no --rate"]),
    (("--weights", "--sparsity", "0.5", "--steps", "2"), ["--weights takes no --steps"]),
    (("--weights", "--sparsity", "0.5", "--method", "scop"), ["--weights takes no --method"]),
    (("--rate", "0.5", "--sparsity", "0.5"), ["--sparsity"]),
    (("--rate", "1.5", "--step"), ["--rate", "1.5"]),
    (("--rate", "0.9999", "--step"), ["--rate", "0.9999", "multiply-adds"]),
    (("--rate", "0.3", "--step"), ["evoprune analyse"]),
    (("--step",), ["--rate", "--max-loss"]),
    (("--weights", "--sparsity", "0.5", "--set", "weights.layers={conv1: 1.5}"), ["weights.layers.conv1", "1.5"]),
    (("--weights", "--set", "weights.layers={nothing: 0.5}"), ["'nothing' matches no layer"]),  # before any training
]


@pytest.mark.parametrize(("words", "parts"), REFUSED)
def test_what_is_wrong_is_refused_and_nothing_is_written(tmp_path, capsys, words, parts):
    message = refusal(capsys, "prune", write_experiment(tmp_path), "--out", str(tmp_path / "run"), *words)
    assert [part for part in parts if part not in message] == []
    assert not (tmp_path / "run").exists()


def test_what_is_out_of_order_is_refused_and_nothing_is_overwritten(stepped, tmp_path, cache, capsys):
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    before = files_of(run)
    words = ["prune", write_experiment(tmp_path, base={"cache": str(cache)}), "--out", str(run)]
    assert "not fine-tuned" in refusal(capsys, *words, "--weights", "--sparsity", "0.6")
    assert "not fine-tuned" in refusal(capsys, *words, "--rate", "0.3", "--step")
    assert files_of(run) == before


def test_a_layer_that_no_ratio_matches_is_refused(stepped, tmp_path, capsys):
    before = files_of(tmp_path / "run")
    run = stepped("prune", "--weights", status=2, weights={"layers": {"convolution": 0.5}})
    message = capsys.readouterr().err
    assert "weights.layers: 'convolution' matches no layer" in message and "layer1.0.conv1" in message
    assert message.count(" linear,") == 1  # the name of a layer, and of a kind
    assert files_of(run) == before


def test_a_lower_sparsity_than_there_is_takes_nothing_more(stepped, capsys):
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    stepped("finetune")
    before = files_of(run)
    stepped("prune", "--weights", "--sparsity", "0.4", status=2)
    assert "no weight more goes" in capsys.readouterr().err and files_of(run) == before


def test_a_layer_whose_name_is_a_kind_is_told(stepped, capsys):
    stepped("prune", "--weights", weights={"layers": {"linear": 0.5}})
    assert "linear is the layer of that name, not the kind" in capsys.readouterr().out


def test_a_wrong_override_is_not_blamed_on_the_file(stepped, capsys):
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    message = refusal(capsys, "finetune", str(run), "--set", "retrain.from=random")
    assert message.startswith("evoprune: the options of this command: retrain.from: got 'random'")
    assert "damaged" not in message


def test_sensitivity_files_are_those_of_analyse(stepped, tmp_path):
    run = stepped("prune", "--rate", "0.3", "--step")
    curves = pd.read_csv(run / "sensitivity" / "magnitude.csv")
    assert (curves.images == 60).all() and not (run / "sensitivity" / "ranking_magnitude.csv").exists()
