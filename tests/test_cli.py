"""The command line as users meet it: what it writes, what it prints, and how it refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import refusal, set_all, write_experiment
from helpers import ROOT

import evoprune
from evoprune.cli import COMMANDS, main

EXPERIMENTS = ROOT / "experiments"

# Scores a saved model on the test digits from its folder alone: preprocessing and accuracy are written out here.
SCORE = """
import json, sys
from pathlib import Path
import torch
import evoprune
from evoprune.config import DataConfig
from evoprune.data.sources import load_raw_data
images, labels = load_raw_data(DataConfig(dataset="digits")).test
how = json.loads((Path(sys.argv[1]) / "model.json").read_text())["preprocessing"]
pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
inputs = ((pixels - how["mean"][0]) / how["std"][0]).float()
network = evoprune.load_model(sys.argv[1])
assert not network.training
with torch.no_grad():
    print(100 * (network(inputs).argmax(1) == torch.from_numpy(labels)).double().mean().item())
"""


def test_run_writes_all_that_a_run_promises(ran):
    wanted = ["config.yaml", "run.json", "reports.csv", "output.csv", "table.md", "front.png", "hypervolume.png"]
    assert [name for name in wanted if not (ran / name).is_file()] == []
    assert len(list((ran / "models").glob("*/model.safetensors"))) == 2
    assert not list(ran.rglob("*.ckpt")) and not list(ran.rglob("*.part"))


def test_the_saved_config_is_the_run(ran, capsys):
    assert main(["validate", str(ran / "config.yaml")]) == 0
    assert "tiny: valid" in capsys.readouterr().out


def test_a_table_names_test_accuracy_that_a_fresh_process_finds(ran):
    trained = pd.read_csv(ran / "output.csv").dropna(subset="test_accuracy")
    assert len(trained) == 2
    row = trained.iloc[-1]
    score = subprocess.run([sys.executable, "-c", SCORE, row.model], check=True, capture_output=True, text=True)
    assert float(score.stdout) == pytest.approx(row.test_accuracy, abs=0.001)
    assert f"| {row.test_accuracy:.2f} % |" in (ran / "table.md").read_text()


def test_progress_is_plain_lines_where_the_output_is_no_terminal(tmp_path, cache, capsys):
    file = write_experiment(tmp_path, base={"cache": str(cache)})
    assert main(["search", file, "--out", str(tmp_path / "out"), *set_all("name=tiny")]) == 0
    printed = capsys.readouterr().out
    assert "search: 8/8 in " in printed
    assert "\x1b" not in printed and "\r" not in printed
    assert (tmp_path / "out" / "output.csv").is_file() and not (tmp_path / "out" / "models").exists()


def test_a_run_lies_in_results_under_its_name(tmp_path, cache, monkeypatch):
    file = write_experiment(tmp_path, base={"cache": str(cache)}, search={"generations": 0})
    monkeypatch.chdir(tmp_path)
    assert main(["search", file, "--set", "name=other"]) == 0
    assert (tmp_path / "results" / "other" / "reports.csv").is_file()


@pytest.mark.parametrize("command", ["report", "retrain"])
def test_a_torn_last_line_is_forgiven_by_every_command(copied, command):
    with (copied / "reports.csv").open("a") as file:
        file.write("8,2,evolution,ok,k12")
    assert main([command, str(copied)]) == 0


def test_report_of_a_run_without_a_row_is_no_crash(copied, capsys):
    header = (copied / "reports.csv").read_text().splitlines(keepends=True)[0]
    (copied / "reports.csv").write_text(header)
    assert "reports.csv" in refusal(capsys, "report", str(copied))


def test_validate_prints_what_the_run_will_be(capsys):
    numbers = set_all("search.random_samples=64", "search.generations=31", "search.num_individual=32")
    assert main(["validate", str(EXPERIMENTS / "resnet20_cifar10.yaml"), *numbers]) == 0
    printed = capsys.readouterr().out
    assert "464 bits" in printed and "40,813,184" in printed and "272,474" in printed
    assert "1,056" in printed  # 64 + 31 * 32


def test_set_overrides_any_key(capsys):
    argv = ["validate", "resnet20_cifar10", *set_all("search.generations=2", "search.random_samples=10")]
    assert main([*argv, *set_all("search.num_individual=32", "search_space.name=resnet56")]) == 0
    printed = capsys.readouterr().out
    assert "1136 bits" in printed and "evaluations: 74" in printed


def test_the_installed_command_validates():
    command = Path(sys.executable).parent / "evoprune"
    done = subprocess.run([command, "validate", "quickstart"], check=True, capture_output=True, text=True)
    assert "quickstart: valid" in done.stdout and "evaluations: 64" in done.stdout
    assert re.search(r"measured here: [0-9.]+ s for a candidate with \d+% of the FLOPs", done.stdout)
    stages = r"\(base network \d+:\d\d:\d\d, scores 0:00:00, search \d+:\d\d:\d\d, full training \d+:\d\d:\d\d"
    assert re.search(rf"predicted run time: \d+:\d\d:\d\d {stages} of about 4 networks\)", done.stdout)


def test_validate_without_the_data_says_why_it_predicts_nothing(capsys):
    assert main(["validate", "resnet20_cifar10", "--set", "data.root=/nonexistent/folder"]) == 0
    printed = capsys.readouterr().out
    assert "resnet20_cifar10: valid" in printed and "run time: not predicted" in printed and "data.root" in printed


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("search.objectivs=[accuracy]", ["search.objectivs", "objectives"]),
        ("serach={}", ["serach", "search"]),
        ("search.generations=many", ["search.generations", "'many'", "integer"]),
        ("search.objectives=[accuracy, speed]", ["search.objectives", "speed", "latency"]),
        ("data.validation=1.5", ["data.validation", "1.5", "between 0 and 1"]),
        ("search_space.name=resnet21", ["search_space.name", "resnet21", "resnet20"]),
        ("search.limits.flops.max=10", ["search.limits.flops.max", "10", "smallest"]),
        ("search.limits.accuracy.min=101", ["search.limits.accuracy.min", "101", "100"]),
        ("evaluation.latency_command=measure it", ["evaluation.latency_command", "measure it", "{model}"]),
        ("search.num_individual=1", ["search.num_individual", "1", "2"]),
        ("base.weights=nowhere.pt", ["base.weights", "nowhere.pt", "no such file"]),
        ("search.generations", ["--set", "section.key=value"]),
    ],
)
def test_a_wrong_key_is_named_with_what_came_and_what_is_allowed(tmp_path, capsys, override, parts):
    file = write_experiment(tmp_path)
    message = refusal(capsys, "validate", file, "--set", override)
    assert [part for part in parts if part not in message] == []
    assert refusal(capsys, "run", file, "--out", str(tmp_path / "out"), "--set", override) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "search", "validate"])
def test_a_missing_experiment_is_named(command, capsys):
    assert "nothing.yaml: no such file" in refusal(capsys, command, "nothing.yaml")
    assert "quickstart" in refusal(capsys, command, "quikstart")


@pytest.mark.parametrize("command", ["retrain", "report"])
def test_a_folder_that_is_no_run_is_refused(command, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "nothing"):
        assert str(folder) in refusal(capsys, command, str(folder))
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_an_out_that_cannot_be_a_folder_is_refused(tmp_path, capsys):
    file = write_experiment(tmp_path)
    for out in (file, f"{file}/below"):
        assert file in refusal(capsys, "search", file, "--out", out)


def test_a_users_mistake_shows_no_traceback_in_a_shell(tmp_path):
    command = [sys.executable, "-m", "evoprune.cli", "run", write_experiment(tmp_path), "--set", "sede=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seed" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_key_that_is_not_on_the_front_is_refused(copied, capsys):
    message = refusal(capsys, "retrain", str(copied), *set_all("retrain.select=[k0000]"))
    assert "retrain.select" in message and "k0000" in message


def test_help_has_a_line_for_every_command_and_each_has_its_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    whole = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert f"{command.name} {command.help}" in whole
        with pytest.raises(SystemExit, match="0"):
            main([command.name, "--help"])
        own = capsys.readouterr().out
        assert f"evoprune {command.name}" in own
        assert ("--set KEY=VALUE" in own) == (command.name != "watch"), "who only looks overrides nothing"


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == evoprune.__version__


def test_an_unknown_command_or_option_is_refused(capsys):
    for words in (["serach", "quickstart"], ["run", "quickstart", "--ouut", "x"], []):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert "usage: evoprune" in capsys.readouterr().err


SOON = """
import sys
from evoprune.cli import main
assert main(sys.argv[1:]) == 2
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "ray", "pymoo"}))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "quickstart", "--set", "search.generatons=3"],
        ["run", "nothing.yaml"],
        ["run", "quickstart", "--set", "search.limits.flops.max=1"],
        ["search", "quickstart", "--set", "base.weights=nothing.pt"],
        ["prune", "quickstart", "--rate", "5"],
        ["retrain", "nowhere"],
        ["report", "nowhere"],
        ["watch", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_before_anything_large_is_imported(tmp_path, words):
    """Imports took 2.3 of the seconds in which a mistake was told; without these it is well below one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SOON, *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
    assert done.stderr.startswith("evoprune: ")
