"""The four commands: one after the other in one folder, and what a workspace of another network is told."""

import shutil

import pandas as pd
import pytest
from commands import set_all, write_experiment
from steps import files_of, summary

from evoprune.cli import main


def test_analyse_leaves_curves_a_picture_and_says_what_comes_next(analysed, stepped, capsys):
    run = stepped("analyse", "--images", "60", *set_all("report.formats=[png, svg]"))
    printed = capsys.readouterr().out
    assert "leave alone" in printed and "kept at 1 points" in printed and "--rate 0.3 --step" in printed
    assert "--set 'report.formats=[png, svg]'" in printed and "--method" not in printed
    assert "| base network |" in printed.replace("|  | base", "| base") and len(summary(run)) == 1
    assert (run / "sensitivity" / "magnitude.png").is_file()
    assert (pd.read_csv(run / "sensitivity" / "magnitude.csv").images == 60).all()


def test_four_commands_and_a_tolerated_loss(stepped, capsys):
    run = stepped("prune", "--max-loss", "5", "--step")
    stepped("finetune")
    stepped("transform")
    table = summary(run)
    assert [state for _, state in table.index] == ["base", "pruned", "finetuned", "transformed"]
    assert all((run / "steps" / f"summary.{kind}").is_file() for kind in ("csv", "md"))
    assert "next: evoprune transform" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["finetune", "transform"])
def test_a_folder_that_is_no_run_is_refused(steps, tmp_path, capsys, command):
    steps(command, status=2)
    assert "not the folder of a run" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_workspace_of_another_network_is_refused_and_nothing_is_overwritten(stepped, steps, tmp_path, capsys):
    """Another base network under the steps; and another experiment in the folder."""
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    before = files_of(run)
    steps("prune", "--weights", "--sparsity", "0.5", *set_all("base.epochs=1"), status=2)
    assert "belongs to another experiment" in capsys.readouterr().err
    assert files_of(run) == before
    other = tmp_path / "other"
    shutil.copytree(run, other)
    run.rename(tmp_path / "kept")
    steps("prune", "--weights", "--sparsity", "0.5", *set_all("base.epochs=1"))
    shutil.rmtree(run / "steps")
    shutil.copytree(other / "steps", run / "steps")
    before = files_of(run)
    for command, *words in (["finetune"], ["transform"], ["prune", "--weights", "--sparsity", "0.7"]):
        steps(command, *words, *(set_all("base.epochs=1") if command == "prune" else ()), status=2)
        assert "another network" in capsys.readouterr().err
    assert files_of(run) == before


def test_rounds_are_not_gone_on_with_after_the_base_network_was_deleted_and_became_another(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    steps("finetune")
    shutil.rmtree(run / "base")
    steps("prune", "--weights", "--sparsity", "0.7", *set_all("base.epochs=1"), status=2)
    assert "another experiment" in capsys.readouterr().err and not (run / "steps/round_2").exists()


def test_limits_of_channels_are_said_to_be_none_of_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("evoprune.stages.step_pipeline.prepare_base", lambda _: None)
    monkeypatch.setattr("evoprune.stages.sparsity_search.search_sparsities", lambda _: "searched")
    file = write_experiment(tmp_path, search={"limits": {"flops": {"max": "50%"}}})
    assert main(["search", file, "--weights", "--out", str(tmp_path / "run")]) == 0
    assert "search.limits are those of channels: the search --weights takes no notice" in capsys.readouterr().out
