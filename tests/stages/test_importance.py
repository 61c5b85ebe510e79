"""Importance: every bit has a score, computed once, and the run says how."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import prepared

from evoprune import UserError, load_search_space
from evoprune.config import Experiment
from evoprune.networks.device import Compute
from evoprune.pruning.importance.aggregate import Importance, relative, segment_scores
from evoprune.pruning.importance.magnitude import weight_scores
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.context import Context
from evoprune.stages.importance import compute_importance

SPACE = load_search_space("resnet20", width=4, num_classes=10, in_channels=1, image_size=8)
RECALIBRATION = 32
L1 = {"criterion": "l1"}
CPU = Compute(torch.device("cpu"), bf16=False)
Make = Callable[..., Experiment]


def prepare_in(path: Path, experiment: Experiment) -> Context:
    with open_run_folder(path, experiment) as folder:
        return prepared(experiment, folder)


@pytest.fixture(scope="module")
def scored(tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Context]:
    """A run's folder with the base network and its scores."""
    path = tmp_path_factory.mktemp("scores") / "run"
    return path, prepare_in(path, tiny(importance=L1))


@pytest.mark.parametrize("criterion", ["l1", "geometric_median"])
def test_every_bit_has_a_score_in_the_runs_folder(tiny, tmp_path, criterion):
    context = prepare_in(tmp_path / "run", tiny(importance={"criterion": criterion}))
    table = pd.read_csv(tmp_path / "run" / "importance" / "magnitude.csv")
    assert table.columns.tolist() == ["segment", "channel", "score"]
    places = [(segment.name, channel) for segment in SPACE.segments for channel in range(segment.width)]
    assert list(zip(table.segment, table.channel, strict=True)) == places
    wanted = segment_scores(SPACE, Importance(relative(weight_scores(SPACE, context.base.network, criterion)), {}))
    assert table.score.to_numpy() == pytest.approx(wanted)
    assert [file.stem for file in (tmp_path / "run" / "importance").iterdir() if "layers" not in file.stem] == [
        "magnitude"
    ]
    assert context.scores("magnitude") == pytest.approx(wanted)


def test_the_layers_table_says_what_the_scores_came_from(scored):
    """The l1 norm of each filter over its layer's mean, by hand."""
    path, context = scored
    table = pd.read_csv(path / "importance" / "magnitude_layers.csv")
    weight = context.base.network.get_submodule("layer2.0.conv1").weight.detach().double()
    norms = weight.abs().sum((1, 2, 3)).numpy()
    layer = table[table.layer == "layer2.0.conv1"]
    assert layer.channel.tolist() == list(range(8))
    assert layer.score.to_numpy() / layer.score.mean() == pytest.approx(norms / norms.mean(), rel=1e-5)


def test_the_run_says_how_they_came_about(scored):
    facts = pd.read_json(scored[0] / "run.json", typ="series")
    assert facts["importance"] == {"magnitude": {"criterion": "l1"}}
    assert facts["seconds"]["importance.magnitude"] >= 0


def test_they_are_computed_once(tiny, scored, tmp_path):
    path = Path(shutil.copytree(scored[0], tmp_path / "again"))
    file = path / "importance" / "magnitude.csv"
    table = pd.read_csv(file)
    table["score"] = np.arange(len(table)) / 7
    file.write_text(table.to_csv(index=False))
    RunFolder(path).seal(file)
    assert prepare_in(path, tiny(importance=L1)).scores("magnitude") == pytest.approx(np.arange(SPACE.length) / 7)


def test_scores_that_are_lost_are_the_same_again(tiny, scored, tmp_path):
    path = Path(shutil.copytree(scored[0], tmp_path / "again"))
    shutil.rmtree(path / "importance")
    assert (prepare_in(path, tiny(importance=L1)).scores("magnitude") == scored[1].scores("magnitude")).all()
    assert (path / "importance" / "magnitude.csv").read_bytes() == (
        scored[0] / "importance" / "magnitude.csv"
    ).read_bytes()


@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_the_base_network_stays_on_the_cpu_as_it_was(tiny, tmp_path, criterion):
    experiment = tiny(importance={"criterion": criterion, "images": 100})
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        network = context.base.network
        before = {name: value.clone() for name, value in network.state_dict().items()}
        folder.importance("magnitude").unlink()
        compute_importance(context, ("magnitude",))
    scores = context.scores("magnitude")
    assert scores.shape == (SPACE.length,) and (scores > 0).all()
    assert not network.training
    for name, value in network.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_another_criterion_is_another_run(tiny, scored, tmp_path):
    path = Path(shutil.copytree(scored[0], tmp_path / "other"))
    with pytest.raises(UserError, match=r"importance\.criterion: 'l1' there, 'l2' here"):
        prepare_in(path, tiny(importance={"criterion": "l2"}))
