"""Which of a run's trained networks are there, and are of these settings."""

import json

import pytest

from evoprune import UserError
from evoprune.runs.folder import RunFolder
from evoprune.runs.models import (
    Pruning,
    finished_steps,
    known_models,
    other_settings,
    step_folder,
    trained_models,
    training_settings,
)


def write_description(folder, **facts) -> None:
    folder.mkdir(parents=True)
    facts = {"format": 1, "network": {}, "test_accuracy": 90.0, **facts}
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").touch()


def test_what_a_training_depends_on_is_all_of_retrain_but_which_and_how_many(tiny):
    settings = training_settings(tiny())
    assert settings == training_settings(tiny(retrain={"select": "all", "seeds": 3}))
    others = [{"epochs": 2}, {"lr": 0.1}, {"from": "scratch"}, {"distillation": {"weight": 0.5, "temperature": 2.0}}]
    assert all(training_settings(tiny(retrain=other)) != settings for other in others)
    assert json.loads(json.dumps(settings)) == settings, "a description says the same"


def test_models_are_found_by_seed_and_only_with_these_settings(tiny, tmp_path):
    experiment, folder = tiny(retrain={"seeds": 3}), RunFolder(tmp_path)
    training = training_settings(experiment)
    assert trained_models(folder, "k1", experiment) == []
    write_description(folder.model("k1", 0), seed=0, training=training)
    write_description(folder.model("k1", 1), seed=1, training={**training, "lr": 0.9})
    write_description(folder.model("k1", 2), seed=2, training=training)
    write_description(folder.model("k2", 0), seed=0, training=training)
    assert [model["seed"] for model in trained_models(folder, "k1", experiment)] == [0, 2]
    assert [model["seed"] for model in trained_models(folder, "k1", tiny())] == [0], "one seed is wanted"
    assert trained_models(folder, "k1", tiny(retrain={"lr": 0.9})) == []


def test_other_settings_are_named(tiny, tmp_path):
    folder, training = RunFolder(tmp_path), training_settings(tiny())
    model = folder.model("k1")
    assert other_settings(model, training) == ""
    write_description(model, seed=0, training={**training, "epochs": 50.0})
    assert other_settings(model, training) == "retrain.epochs 50.0 there, 1.0 here"
    assert other_settings(model, training_settings(tiny(retrain={"epochs": 50, "seeds": 3}))) == ""


@pytest.mark.parametrize(
    ("steps", "name"), [(1, "scop-rate-0.45"), (2, "scop-rate-0.45-steps-2"), (10, "scop-rate-0.45-steps-10")]
)
def test_the_name_of_a_pruning_says_what_it_does(steps, name):
    assert Pruning("scop", "rate-0.45", steps, {}).name == name


def test_steps_count_up_to_the_first_one_that_is_missing_or_was_made_otherwise(tmp_path):
    folder, pruning = RunFolder(tmp_path), Pruning("magnitude", "rate-0.5", 4, {"lr": 0.1})
    assert finished_steps(folder, pruning) == []
    for step in (1, 2, 4):
        write_description(step_folder(folder, pruning, step), **pruning.facts(step), accuracy=90.0 - step)
    assert [model["accuracy"] for model in finished_steps(folder, pruning)] == [89.0, 88.0]
    write_description(step_folder(folder, pruning, 3), **pruning.facts(3), accuracy=87.0)
    assert len(finished_steps(folder, pruning)) == 4
    other = Pruning("magnitude", "rate-0.5", 4, {"lr": 0.2})
    assert step_folder(folder, other, 1) == step_folder(folder, pruning, 1)
    assert finished_steps(folder, other) == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"sha256": "0" * 64}, "checksum"), ({"test_accuracy": None}, "test_accuracy"), ({"format": 2}, "format")],
)
def test_a_damaged_model_is_named_with_what_to_do(tiny, tmp_path, facts, reason):
    folder = RunFolder(tmp_path)
    write_description(folder.model("k1"), seed=0, training=training_settings(tiny()), **facts)
    with pytest.raises(UserError, match=rf"models/k1/.*{reason}.*; delete .*models/k1, and"):
        trained_models(folder, "k1", tiny())


def test_seeds_beyond_those_that_the_run_asks_for_are_known_too(tiny, tmp_path):
    """`retrain --set retrain.seeds=2` trained a second one; a report of the run, which says 1, once forgot it."""
    folder, training = RunFolder(tmp_path), training_settings(tiny())
    for seed in range(2):
        write_description(folder.model("k1", seed), seed=seed, training=training)
    write_description(folder.model("k1", 2), seed=2, training={**training, "lr": 0.9})
    assert [model["seed"] for model in known_models(folder, "k1", tiny())] == [0, 1]
    assert [model["seed"] for model in trained_models(folder, "k1", tiny())] == [0]


def test_a_further_seed_of_which_the_description_alone_is_published_is_known_and_can_be_trained(tiny, tmp_path):
    folder, training = RunFolder(tmp_path), training_settings(tiny())
    for seed in range(2):
        write_description(folder.model("k1", seed), seed=seed, training=training)
    (folder.model("k1", 1) / "model.safetensors").unlink()
    assert [model["seed"] for model in known_models(folder, "k1", tiny())] == [0, 1]
    assert [model["seed"] for model in trained_models(folder, "k1", tiny(retrain={"seeds": 2}))] == [0]
    (folder.model("k1", 0) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no such file; delete"):
        known_models(folder, "k1", tiny())


def test_a_network_of_other_settings_is_known_by_those_of_its_first_seed(tiny, tmp_path):
    folder, training = RunFolder(tmp_path), training_settings(tiny())
    other = {**training, "lr": 0.9}
    for seed, settings in enumerate((other, other, training)):
        write_description(folder.model("k1", seed), seed=seed, training=settings)
    assert [model["seed"] for model in known_models(folder, "k1", tiny())] == [0, 1]
    assert [model["seed"] for model in known_models(folder, "k1", tiny(retrain={"seeds": 3}))] == [0, 1]
    (folder.model("k1") / "model.json").unlink()
    assert [model["seed"] for model in known_models(folder, "k1", tiny(retrain={"seeds": 3}))] == [2]
    assert known_models(folder, "k2", tiny()) == []
