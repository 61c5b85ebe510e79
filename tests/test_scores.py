"""The importance of a run's parent: every bit has a score, computed once, and the run says how."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run_search

from evoprune import UserError, load_search_space
from evoprune.pruning.importance.magnitude import weight_scores
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.runs.folder import open_run_folder
from evoprune.stages.analyse import scores_of_run
from evoprune.stages.context import Setting, prepare

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)


def prepared(experiment, path: Path) -> Setting:
    with open_run_folder(path, experiment) as folder:
        return prepare(experiment, folder)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Setting]:
    path = tmp_path_factory.mktemp("scores") / "run"
    return path, prepared(tiny(), path)


@pytest.mark.parametrize("criterion", ["l1", "geometric_median"])
def test_every_bit_has_a_score_in_the_runs_folder(tiny, tmp_path, criterion):
    setting = prepared(tiny(importance={"criterion": criterion}), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "importance" / "magnitude.csv")
    assert table.columns.tolist() == ["segment", "channel", "score"]
    places = [(segment.name, channel) for segment in SPACE.segments for channel in range(segment.width)]
    assert list(zip(table.segment, table.channel, strict=True)) == places
    wanted = segment_scores(SPACE, weight_scores(SPACE, setting.base.network, criterion))
    assert table.score.to_numpy() == pytest.approx(wanted)
    assert list(setting.scores) == ["magnitude"]
    assert setting.scores["magnitude"] == pytest.approx(wanted)


def test_the_run_says_how_they_came_about(run):
    path, _ = run
    facts = pd.read_json(path / "run.json", typ="series")
    assert facts["importance"] == {"magnitude": {"criterion": "l1"}}
    assert facts["seconds"]["importance.magnitude"] >= 0


def test_they_are_computed_once(tiny, run, tmp_path):
    path = Path(shutil.copytree(run[0], tmp_path / "again"))
    file = path / "importance" / "magnitude.csv"
    table = pd.read_csv(file)
    table["score"] = np.arange(len(table)) / 7
    file.write_text(table.to_csv(index=False))
    assert prepared(tiny(), path).scores["magnitude"] == pytest.approx(np.arange(SPACE.length) / 7)


def test_scores_that_are_lost_are_the_same_again(tiny, run, tmp_path):
    path = Path(shutil.copytree(run[0], tmp_path / "again"))
    shutil.rmtree(path / "importance")
    assert (prepared(tiny(), path).scores["magnitude"] == run[1].scores["magnitude"]).all()
    assert (path / "importance" / "magnitude.csv").read_bytes() == (
        run[0] / "importance" / "magnitude.csv"
    ).read_bytes()


@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_the_parent_stays_on_the_cpu_as_it_was(tiny, run, tmp_path, criterion):
    experiment = tiny(importance={"criterion": criterion, "images": 100})
    setting = run[1]
    before = {name: value.clone() for name, value in setting.base.network.state_dict().items()}
    with open_run_folder(tmp_path / "run", experiment) as folder:
        scores = scores_of_run(experiment, setting.space, setting.base, folder, ("magnitude",))
    assert scores["magnitude"].shape == (SPACE.length,) and (scores["magnitude"] > 0).all()
    assert not setting.base.network.training
    for name, value in setting.base.network.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in setting.base.network.parameters())


def test_a_search_that_needs_none_computes_none(tiny, tmp_path):
    experiment = tiny(search={"proposal": "random", "prior": None, "generations": 0, "random_samples": 2})
    path = run_search(experiment, tmp_path / "run")
    assert not (path / "importance").exists()
    assert pd.read_csv(path / "reports.csv").proposal.tolist() == ["full", "random"]


def test_another_criterion_is_another_run(tiny, run, tmp_path):
    path = Path(shutil.copytree(run[0], tmp_path / "other"))
    with pytest.raises(UserError, match=r"importance\.criterion: 'l1' there, 'l2' here"):
        prepared(tiny(importance={"criterion": "l2"}), path)
