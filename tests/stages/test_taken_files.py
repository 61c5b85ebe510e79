"""A run goes on with what it took of the user's files, and tells where they have changed since."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import write_experiment
from helpers import prepared, same_weights

from evoprune.cli import main
from evoprune.config import Experiment
from evoprune.runs.ownership import open_run_folder
from evoprune.space.traced_yaml import write_space
from evoprune.stages.context import Context

NET = "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))\n"


@pytest.fixture
def prepare(tmp_path: Path):
    def prepare(experiment: Experiment) -> Context:
        with open_run_folder(tmp_path / "run", experiment) as folder:
            return prepared(experiment, folder)

    return prepare


def test_weights_that_have_changed(tiny: Any, prepare: Any, ran: Path, tmp_path: Path, capsys: Any) -> None:
    mine = Path(shutil.copytree(ran / "base", tmp_path / "mine"))
    experiment = tiny(base={"weights": str(mine)})
    for _ in range(2):
        first = prepare(experiment)
    told = f"warning: base.weights: {mine} has changed since this run was begun, which goes on with "
    assert told not in capsys.readouterr().out
    (mine / "model.safetensors").write_bytes(b"others")
    again = prepare(experiment)
    assert told in capsys.readouterr().out and same_weights(first.base.network, again.base.network)
    shutil.rmtree(mine)
    prepare(experiment)
    assert told not in capsys.readouterr().out, "nobody knows"


def test_a_search_space_that_has_changed(tiny: Any, prepare: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "net.py").write_text(NET)
    network, mine = {"source": f"{tmp_path / 'net.py'}:make"}, tmp_path / "mine.yaml"
    write_space(prepare(tiny(network=network, search_space=None)).space, mine)
    shutil.rmtree(tmp_path / "run")
    experiment = tiny(network=network, search_space={"name": str(mine), "width": None})
    for _ in range(2):
        prepare(experiment)
    told = f"warning: search_space.name: {mine} has changed since this run was begun, which goes on with "
    assert told not in capsys.readouterr().out
    mine.write_text(mine.read_text() + "# a word\n")
    assert prepare(experiment).space.length == 4
    assert told in capsys.readouterr().out


def test_a_command_goes_on_where_they_are_gone(ran: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(ran / "base", tmp_path / "mine"))
    command = ["search", write_experiment(tmp_path, base={"weights": str(mine)}), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    shutil.rmtree(mine)
    assert main([*command, "--set", "search.generations=4"]) == 0
