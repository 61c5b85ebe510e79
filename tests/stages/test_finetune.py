"""The step that trains a pruned network on: zeros stay, sparsity rises, and what is cut short goes on."""

from typing import Any

import pytest
import torch
from commands import set_all
from helpers import interrupt
from steps import files_of, summary, workspace_of

from evoprune import load_model
from evoprune.runs.rounds import rounds_of

CUBIC = set_all("weights.schedule=cubic", "weights.changes=3", "weights.until=0.8")


def test_zeros_stay_and_accuracy_comes_back(stepped):
    run = stepped("prune", "--rate", "0.6", "--step")
    stepped("finetune", *set_all("retrain.epochs=3"))
    workspace = workspace_of(run)
    (place,) = rounds_of(workspace.context.folder)
    (pruned, masks, _), (tuned, same, _) = (workspace.load(place, state) for state in ("pruned", "finetuned"))
    assert masks.keys() == same.keys() and all(torch.equal(mask, same[name]) for name, mask in masks.items())
    for name, mask in masks.items():
        assert not tuned.get_parameter(name)[~mask].any()
    assert not torch.equal(pruned.conv1.weight, tuned.conv1.weight)
    table = summary(run)
    assert table.accuracy[1, "finetuned"] > table.accuracy[1, "pruned"]
    assert table.test_accuracy.isna().tolist() == [False, True, False]
    assert not list(run.rglob("*.ckpt"))


def test_no_zero_has_a_sign(steps):
    """A negative weight times zero is -0.0, of which a compressed file is larger."""
    run = steps("prune", "--weights", "--sparsity", "0.8")
    steps("finetune")
    for value in load_model(run / "steps/round_1/finetuned").parameters():
        assert not torch.signbit(value[value == 0]).any()


def test_a_second_rise_begins_where_the_first_round_has_ended(steps, capsys):
    steps("prune", "--weights", "--sparsity", "0.5")
    steps("finetune")
    run = steps("prune", "--weights", "--sparsity", "0.9", *CUBIC)
    capsys.readouterr()
    steps("finetune")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sparsity ")]
    assert [line.split()[1] for line in lines] == ["50.0%", "78.1%", "88.5%", "90.0%"]
    assert (run / "steps/round_2/finetuned").is_dir()


def test_sparsity_rises_to_its_end_and_the_log_says_each_change(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.8", *CUBIC)
    capsys.readouterr()
    steps("finetune")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sparsity ")]
    assert [line.split()[1] for line in lines] == ["0.0%", "56.3%", "77.0%", "80.0%"]
    network = load_model(run / "steps/round_1/finetuned")
    weights = torch.cat([value.flatten() for value in network.parameters() if value.dim() == 4])
    assert float((weights == 0).double().mean()) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("words", [("--sparsity", "0.8", *CUBIC), ("--sparsity", "0.5")])
def test_an_interrupted_fine_tuning_goes_on_to_the_same_weights(steps, tmp_path, cache, monkeypatch, words):
    import evoprune.stages.finetune as module

    epochs = set_all("retrain.epochs=3")
    real, ends = module.train, []

    def dying(*arguments: Any, **named: Any):
        for number, epoch in enumerate(real(*arguments, **named)):
            yield epoch
            if number == 1:
                interrupt()

    for is_stopped in (False, True):
        run = steps("prune", "--weights", *words)
        if is_stopped:
            monkeypatch.setattr(module, "train", dying)
            steps("finetune", *epochs, status=75)
            assert not (run / "steps/round_1/finetuned").exists()
            monkeypatch.setattr(module, "train", real)
        steps("finetune", *epochs)
        names = [path for path in files_of(run) if "finetuned" in path and path.endswith(".safetensors")]
        ends.append({name: files_of(run)[name] for name in names})
        run.rename(tmp_path / f"done_{is_stopped}")
    assert len(ends[0]) == 2 and ends[0] == ends[1]


def test_the_same_command_again_trains_nothing_and_other_keys_are_refused(steps, capsys, monkeypatch):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    steps("finetune")
    before = files_of(run)
    monkeypatch.setattr("evoprune.stages.finetune.train", None)
    steps("finetune")
    assert files_of(run) == before
    steps("finetune", *set_all("retrain.epochs=7"), status=2)
    assert "retrain.epochs 1.0" in capsys.readouterr().err and files_of(run) == before


def test_a_recipe_that_would_forget_the_weights_is_refused(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    before = files_of(run)
    steps("finetune", *set_all("retrain.from=scratch"), status=2)
    assert "finetune trains inherited weights on" in capsys.readouterr().err and files_of(run) == before


def test_a_learning_rate_with_which_nothing_is_learnt_is_named(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    steps("finetune", *set_all("retrain.lr=1e30"), status=2)
    assert "retrain.lr is 1e+30" in capsys.readouterr().err and not (run / "steps/round_1/finetuned").exists()


def test_a_run_without_a_pruned_network_is_refused(stepped, capsys):
    run = stepped("finetune", status=2)
    assert "nothing to fine-tune" in capsys.readouterr().err
    before = files_of(run)
    stepped("transform", status=2)
    assert "nothing to transform" in capsys.readouterr().err and files_of(run) == before
