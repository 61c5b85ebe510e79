"""What the base network's layers read is measured once per run, where slim networks need it, and used everywhere."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import ROOT, TINY, merge, run_search
from safetensors.torch import load_file

from evoprune import load_model, slim_network
from evoprune.config import Experiment, parse_experiment
from evoprune.data.tensors import place_data
from evoprune.pruning import moments as module
from evoprune.pruning.channels import inherited_changes
from evoprune.pruning.moments import load_moments, measure_moments, moment_inputs
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.base import provide_base
from evoprune.stages.context import Context
from evoprune.stages.moments import provide_moments

Make = Callable[..., Experiment]


def provide(path: Path, experiment: Experiment) -> Context:
    with open_run_folder(path, experiment) as folder:
        context = Context(experiment, folder)
        provide_base(context)
        provide_moments(context)
        return context


def test_they_are_those_of_the_base_network_over_training_images(tiny: Make, tmp_path: Path):
    context = provide(tmp_path / "run", tiny())
    data = place_data(context.dataset.arrays, torch.device("cpu"))
    wanted = measure_moments(context.space, context.base.network, moment_inputs(data, 0))
    for name, layer in wanted.layers.items():
        assert (context.moments.layers[name].mean == layer.mean).all()
        assert (context.moments.layers[name].covariance == layer.covariance).all()
    assert set(context.moments.layers) == set(wanted.layers)
    assert context.folder.facts()["seconds"]["moments"] >= 0


def test_who_watches_sees_how_far_they_are(tiny: Make, tmp_path: Path, capsys):
    provide(tmp_path / "run", tiny())
    assert "moments, images: 1024/1024 in " in capsys.readouterr().out


def test_they_are_measured_once_and_the_same_again_where_they_are_lost(tiny: Make, tmp_path: Path):
    context = provide(tmp_path / "run", tiny())
    file = context.folder.moments
    before, changed = file.read_bytes(), file.stat().st_mtime_ns
    provide(tmp_path / "run", tiny())
    assert file.stat().st_mtime_ns == changed
    file.unlink()
    provide(tmp_path / "run", tiny())
    assert file.read_bytes() == before


def test_those_of_a_traced_network_are_measured_once(tmp_path: Path, capsys):
    """Once its depthwise layers were missed in the file, and it was measured again whenever a run went on."""
    document = {name: keys for name, keys in TINY.items() if name != "search_space"}
    source = f"{ROOT / 'tests' / 'strangers.py'}:make_branches"
    wanted = {**document, "network": {"source": source}}
    experiment = parse_experiment(merge(wanted, {"base": {"cache": str(tmp_path / "base")}}), "test")
    before = provide(tmp_path / "run", experiment).folder.moments.stat().st_mtime_ns
    assert any(layer.kind == "depthwise" for layer in provide(tmp_path / "run", experiment).space.layers)
    assert (tmp_path / "run" / "base" / "moments.safetensors").stat().st_mtime_ns == before
    assert "measured again" not in capsys.readouterr().out


def test_plain_inheritance_needs_none(tiny: Make, tmp_path: Path):
    context = provide(tmp_path / "run", tiny(inherit="plain"))
    assert context.moments is None and not context.folder.moments.exists()


def test_a_layer_that_is_too_wide_is_named_and_inherits_plainly(tiny: Make, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(module, "MOST_INPUTS", 100)
    context = provide(tmp_path / "run", tiny())
    said = capsys.readouterr().out
    assert "inherit: layer3.0.conv2 is not compensated: reads 144 values, more than 100" in said
    assert "linear is not" not in said
    code = context.space.full_code()
    code[context.space.segment("layer3.0.middle").slice][::2] = 0
    changes = inherited_changes(context.space, context.base.network, code, context.moments)
    assert "layer3.0.conv2.weight" not in changes


@pytest.mark.parametrize("inherit", ["compensated", "plain"])
def test_a_search_and_its_full_trainings_inherit_as_the_experiment_says(tiny: Make, tmp_path: Path, inherit: str):
    """A search without training and full trainings without an epoch: what they measure is what was inherited."""
    from evoprune.stages.retrain import retrain

    experiment = tiny(inherit=inherit, retrain={"epochs": 0, "select": "all"})
    path = run_search(experiment, tmp_path / "run")
    with open_run_folder(path, experiment) as folder:
        context = Context(experiment, folder)
        retrain(context)
    row = pd.read_csv(path / "output.csv").iloc[0]
    moments = load_moments(context.folder.moments) if inherit == "compensated" else None
    wanted = slim_network(context.space, context.base.network, context.space.parse_code(row.code), moments)
    found = load_file(path / "models" / row.key / "model.safetensors")
    for name, value in wanted.named_parameters():
        assert torch.equal(found[name], value.detach())
    plain = slim_network(context.space, load_model(path / "base"), context.space.parse_code(row.code))
    same = all(torch.equal(found[name], value.detach()) for name, value in plain.named_parameters())
    assert same is (inherit == "plain")
