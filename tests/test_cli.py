"""The command line as users meet it: what it writes, what it prints, and how it refuses."""

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import TINY, merge

from evoprune.cli import main

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
SHORT = "retrain.epochs=0.1"

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


def write_experiment(folder: Path, **changes: Any) -> str:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(merge(TINY, changes), sort_keys=False))
    return str(file)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is finished, with everything that `evoprune run` does."""
    folder = tmp_path_factory.mktemp("cli")
    file = write_experiment(folder, base={"cache": str(folder / "cache")})
    assert main(["run", file, "--out", str(folder / "ran")]) == 0
    return folder / "ran"


@pytest.fixture
def copied(ran: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran, tmp_path / "copied"))


def set_all(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def retrain(run: Path, *overrides: str) -> pd.DataFrame:
    """The trained rows of `output.csv` after `evoprune retrain`."""
    assert main(["retrain", str(run), *set_all(*overrides)]) == 0
    return pd.read_csv(run / "output.csv").dropna(subset="test_accuracy")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message of a refused command."""
    capsys.readouterr()
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("evoprune: ")
    assert "Traceback" not in printed.err
    return printed.err


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


def test_progress_is_plain_lines_where_the_output_is_no_terminal(tmp_path, ran, capsys):
    file = write_experiment(tmp_path, base={"cache": str(ran.parent / "cache")})
    assert main(["search", file, "--out", str(tmp_path / "out"), *set_all("name=tiny")]) == 0
    printed = capsys.readouterr().out
    assert "search: 8/8 in " in printed
    assert "\x1b" not in printed and "\r" not in printed
    assert (tmp_path / "out" / "output.csv").is_file() and not (tmp_path / "out" / "models").exists()


def test_a_run_lies_in_results_under_its_name(tmp_path, ran, monkeypatch):
    file = write_experiment(tmp_path, base={"cache": str(ran.parent / "cache")}, search={"generations": 0})
    monkeypatch.chdir(tmp_path)
    assert main(["search", file, "--set", "name=other"]) == 0
    assert (tmp_path / "results" / "other" / "reports.csv").is_file()


def test_report_draws_again_and_prints_the_table(copied, capsys):
    for name in ("front.png", "hypervolume.png", "table.md"):
        (copied / name).unlink()
    assert main(["report", str(copied)]) == 0
    assert (copied / "table.md").read_text() in capsys.readouterr().out
    assert (copied / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["report", "retrain"])
def test_a_torn_last_line_is_forgiven_by_every_command(copied, command):
    with (copied / "reports.csv").open("a") as file:
        file.write("8,2,evolution,ok,k12")
    assert main([command, str(copied)]) == 0


def test_report_of_a_run_without_a_row_is_no_crash(copied, capsys):
    header = (copied / "reports.csv").read_text().splitlines(keepends=True)[0]
    (copied / "reports.csv").write_text(header)
    assert "reports.csv" in refusal(capsys, "report", str(copied))


def test_report_does_not_need_the_row_of_the_full_network(copied):
    lines = (copied / "reports.csv").read_text().splitlines(keepends=True)
    (copied / "reports.csv").write_text("".join([lines[0], *lines[2:]]))
    assert main(["report", str(copied)]) == 0


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
    stages = r"\(base network \d+:\d\d:\d\d, scores 0:00:00, search \d+:\d\d:\d\d, full training \d+:\d\d:\d\d\)"
    assert re.search(rf"predicted run time: \d+:\d\d:\d\d {stages}", done.stdout)


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
        ("search.limits.latency.max=50%", ["search.limits.latency.max", "50%", "ms"]),
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


def test_the_same_settings_train_nothing_again_and_others_do(copied):
    def times() -> dict[str, int]:
        return {str(file): file.stat().st_mtime_ns for file in (copied / "models").rglob("model.safetensors")}

    first = times()
    assert retrain(copied).shape[0] == 2 and times() == first
    retrain(copied, "retrain.lr=0.01")
    changed = times()
    assert set(changed) == set(first) and all(changed[name] > first[name] for name in first)


def test_seeds_give_mean_and_spread(copied):
    output = retrain(copied, "retrain.seeds=2")
    assert set(output.num_seeds) == {2}
    for _, row in output.iterrows():
        folder = copied / "models" / row.key
        tests = [json.loads((f / "model.json").read_text())["test_accuracy"] for f in (folder, folder / "seed_1")]
        assert row.test_accuracy == pytest.approx(statistics.fmean(tests), abs=1e-3)
        assert row.test_accuracy_std == pytest.approx(abs(tests[0] - tests[1]) / 2**0.5, abs=1e-3)


@pytest.mark.parametrize("override", ["retrain.from=scratch", "retrain.distillation={weight: 0.5, temperature: 2.0}"])
def test_other_trainings_give_other_weights(ran, copied, override):
    output = retrain(copied, override)
    assert len(output) == 2 and output.test_accuracy.between(0, 100).all()
    for key in output.key:
        name = Path("models") / key / "model.safetensors"
        assert (copied / name).read_bytes() != (ran / name).read_bytes()


def test_select_decides_which_networks_are_trained(copied):
    front = pd.read_csv(copied / "output.csv")
    ends = {front.key.iloc[0], front.key.iloc[-1]}
    assert set(retrain(copied, SHORT, "retrain.select={count: 2}").key) == ends
    shutil.rmtree(copied / "models")
    assert set(retrain(copied, SHORT, f"retrain.select=[{front.key[1]}]").key) == {front.key[1]}
    shutil.rmtree(copied / "models")
    assert 1 <= len(retrain(copied, SHORT, "retrain.select=knees")) <= 3
    assert set(retrain(copied, SHORT, "retrain.select=all").key) == set(front.key)


def test_a_key_that_is_not_on_the_front_is_refused(copied, capsys):
    message = refusal(capsys, "retrain", str(copied), *set_all("retrain.select=[k0000]"))
    assert "retrain.select" in message and "k0000" in message
