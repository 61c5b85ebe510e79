"""The base network: given or trained, once for all runs of the same recipe on the same images."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import interrupt, prepared, run_search
from made_data import validation_arrays, write_class_folders, write_npz

from evoprune import UserError, build_network
from evoprune.config import Experiment
from evoprune.networks.base import load_base
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.stages.base import base_folder, provide_base
from evoprune.stages.context import Context

UNUSED = RunFolder(Path("unused"))


def prepare_in(path: Path, experiment: Experiment) -> Context:
    with open_run_folder(path, experiment) as folder:
        return prepared(experiment, folder)


def test_it_is_trained_once_for_all_runs(tiny, cache, ran, tmp_path, capsys):
    weights = list(cache.glob("*/model.safetensors"))
    times = [file.stat().st_mtime_ns for file in weights]
    prepare_in(tmp_path / "run", tiny(search={"generations": 0}))
    assert "base network" not in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in weights] == times
    ours = (tmp_path / "run" / "base" / "model.safetensors").read_bytes()
    assert ours in [file.read_bytes() for file in weights]
    assert ours == (ran / "base" / "model.safetensors").read_bytes()


def test_it_is_trained_on_the_training_split_and_says_so(tiny, ran):
    info = json.loads((ran / "run.json").read_text())["base"]
    assert info["source"] == "trained on the training split" and info["seconds"] > 0
    assert info["recipe"]["epochs"] == 3 and "cache" not in info["recipe"]
    assert info["validation_accuracy"] > 20 and info["test_accuracy"] > 20, "10 % is chance"
    assert not list(Path(tiny().base.cache).rglob("*.ckpt"))


def test_a_folder_that_was_not_finished_is_made_again(tiny, ran, tmp_path):
    (tmp_path / "run" / "base").mkdir(parents=True)
    shutil.copy(ran / "config.yaml", tmp_path / "run")
    shutil.copy(ran / "base" / "model.safetensors", tmp_path / "run" / "base")
    assert prepare_in(tmp_path / "run", tiny()).base.info["validation_accuracy"] > 10


def test_weights_from_elsewhere_warn(tiny, ran, tmp_path, capsys):
    weights = str(ran / "base")
    path = run_search(tiny(base={"weights": weights}, search={"generations": 0}), tmp_path / "imported")
    assert f"warning: {weights} was trained elsewhere" in capsys.readouterr().out
    facts = json.loads((path / "run.json").read_text())["base"]
    own = json.loads((ran / "run.json").read_text())["base"]
    assert len(facts["warnings"]) == 1 and "warnings" not in own
    assert facts["validation_accuracy"] == own["validation_accuracy"]


def test_a_training_that_learns_nothing_is_told(make_experiment, tmp_path):
    message = r"base: the training loss is not finite; lower the learning rate \(base.lr is 1e\+12\)"
    with pytest.raises(UserError, match=message):
        prepare_in(tmp_path / "run", make_experiment(base={"lr": 1e12}))


def test_given_weights_whose_outputs_are_not_finite_are_named(tiny, tmp_path):
    state = build_network(Context(tiny(), UNUSED).space).state_dict()
    torch.save({**state, "linear.bias": torch.full((10,), np.nan)}, tmp_path / "nan.pt")
    with pytest.raises(UserError, match=r"base.weights: .*nan.pt: the network's output is not finite"):
        prepare_in(tmp_path / "run", tiny(base={"weights": str(tmp_path / "nan.pt")}))


def test_a_base_network_that_was_deleted_and_becomes_another_one_is_told(tiny, tmp_path, capsys):
    space, weights = Context(tiny(), UNUSED).space, tmp_path / "given.pt"
    torch.save(build_network(space).state_dict(), weights)
    experiment = tiny(base={"weights": str(weights)})
    prepare_in(tmp_path / "run", experiment)
    shutil.rmtree(tmp_path / "run" / "base")
    prepare_in(tmp_path / "run", experiment)
    assert "begun with" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "run" / "base")
    torch.save(build_network(space).state_dict(), weights)
    for _ in range(2):
        prepare_in(tmp_path / "run", experiment)
        assert "model.safetensors: not the base network that this run was begun with" in capsys.readouterr().out


def test_the_folder_is_another_one_for_whatever_the_weights_depend_on(tiny):
    own = base_folder(Context(tiny(), UNUSED))
    others = [
        *({"seed": 1}, {"precision": "bf16"}, {"base": {"epochs": 4}}, {"base": {"lr": 0.2}}),
        *({"data": {"validation": 0.3}}, {"data": {"flip": True}}, {"search_space": {"width": 8}}),
    ]
    assert len({own, *(base_folder(Context(tiny(**other), UNUSED)) for other in others)}) == 1 + len(others)
    same = [
        {"name": "other"},
        {"search": {"generations": 9}},
        {"retrain": {"epochs": 9}},
        {"evaluation": {"epochs": 1}},
    ]
    assert {base_folder(Context(tiny(**changes), UNUSED)) for changes in same} == {own}


def test_base_networks_of_other_images_are_other_base_networks(make_experiment):
    first, again, changed = (Context(make_experiment(), UNUSED) for _ in range(3))
    raw = changed.source.read()
    images, labels = raw.train
    changed.source.read = lambda: replace(raw, train=(255 - images, labels))
    assert base_folder(first) == base_folder(again)
    assert base_folder(first) != base_folder(changed)


def test_the_same_images_elsewhere_have_the_same_base_network(tiny, tmp_path):
    data = {"dataset": "npz", "root": write_npz(tmp_path), "validation": str(tmp_path / "validation.npz")}
    np.savez(data["validation"], **validation_arrays(0))
    moved = {**data, "root": str(shutil.copy(data["root"], tmp_path / "second.npz"))}
    moved["validation"] = str(shutil.copy(data["validation"], tmp_path / "other.npz"))
    first, same = tiny(data=data), tiny(data=moved)
    assert base_folder(Context(first, UNUSED)) == base_folder(Context(same, UNUSED))
    assert first.identity() == same.identity() != tiny(data={**data, "validation": "own"}).identity()


def test_classes_have_the_names_of_today(tiny, tmp_path):
    config = write_class_folders(tmp_path / "photos")
    experiment = tiny(data=config.model_dump(exclude_none=True), base={"cache": str(tmp_path / "cache")})
    assert prepare_in(tmp_path / "first", experiment).base.info["classes"] == ["cat", "dog"]
    (tmp_path / "photos" / "dog").rename(tmp_path / "photos" / "hound")
    assert prepare_in(tmp_path / "second", experiment).base.info["classes"] == ["cat", "hound"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_interrupted_training_goes_on_to_the_same_weights(make_experiment, tmp_path, monkeypatch):
    from evoprune.stages import base as module

    whole = prepare_in(tmp_path / "whole", make_experiment())
    shutil.rmtree(make_experiment().base.cache)
    real = module.train

    def dying(*arguments, **named):
        for epoch in real(*arguments, **named):
            yield epoch
            if epoch.number == 2:
                interrupt()

    monkeypatch.setattr(module, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare_in(tmp_path / "again", make_experiment())
    epochs: list[int] = []

    def watched(*arguments, **named):
        for epoch in real(*arguments, **named):
            epochs.append(epoch.number)
            yield epoch

    monkeypatch.setattr(module, "train", watched)
    prepare_in(tmp_path / "again", make_experiment())
    assert epochs == [3], "two were done"
    weights = [(tmp_path / name / "base" / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert weights[0] == weights[1]
    assert np.isfinite(whole.base.info["test_accuracy"])


def test_given_weights_are_not_trained_and_need_no_cache(tiny, ran, tmp_path):
    """A batch norm that has statistics keeps them too."""
    experiment = tiny(base={"weights": str(ran / "base"), "cache": str(tmp_path / "cache")})
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = Context(experiment, folder)
        provide_base(context)
    assert not (tmp_path / "cache").exists()
    given = load_base(context.space, ran / "base").network.state_dict()
    for name, value in context.base.network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, given[name]), name
