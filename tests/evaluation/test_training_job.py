"""The job of full training: what it starts from, what it yields, and that a failure costs one network only."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import same_weights
from torch import nn

from evoprune import build_network, slim_network
from evoprune.data.dataset import Dataset
from evoprune.data.sources import load_raw_data
from evoprune.data.split import make_dataset
from evoprune.evaluation.training_job import Task, Trained, TrainingFailed, training_job
from evoprune.networks.device import Compute
from evoprune.space.space import SearchSpace
from evoprune.training.loop import Epoch


@pytest.fixture(scope="module")
def dataset(tiny) -> Dataset:
    """Few real images: 2 steps an epoch, and 50 to test on."""
    config = tiny().data
    whole = make_dataset(load_raw_data(config), config)
    train, test = (
        tuple(part[:count] for part in split) for split, count in ((whole.arrays.train, 128), (whole.test, 50))
    )
    return replace(whole, arrays=replace(whole.arrays, train=train), test=test)


def a_task(space: SearchSpace, folder: Path, code=None, seed: int = 0) -> Task:
    folder.mkdir(exist_ok=True)
    text = space.format_code(space.full_code() if code is None else code)
    return Task("k0", text, seed, str(folder / f"{seed}.ckpt"))


def with_a_block_more(space: SearchSpace) -> SearchSpace:
    """A space whose network has a block of which no code says how wide it is."""
    return replace(space, network={**space.network, "blocks": [4, 3, 3]})


def rebuilt(space: SearchSpace, task: Task, trained: Trained) -> nn.Module:
    network = build_network(space, space.parse_code(task.code))
    network.load_state_dict(trained.state)
    return network.eval()


@pytest.mark.parametrize("start", ["inherited", "scratch"])
def test_a_training_yields_its_epochs_and_then_the_network_with_its_accuracies(
    make_experiment, small_space, small_base, mixed_codes, dataset, tmp_path, start
):
    experiment = make_experiment(retrain={"from": start, "epochs": 2})
    task = a_task(small_space, tmp_path, mixed_codes[0])
    *epochs, trained = training_job(experiment, small_space, small_base, dataset)(task)
    assert [(epoch.number, epoch.num_epochs) for epoch in epochs if isinstance(epoch, Epoch)] == [(1, 2), (2, 2)]
    network = rebuilt(small_space, task, trained)
    mean, std = (trained.preprocessing[name][0] for name in ("mean", "std"))
    for (images, labels), found in (
        (dataset.arrays.validation, trained.validation_accuracy),
        (dataset.test, trained.test_accuracy),
    ):
        with torch.no_grad():
            logits = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std)
        share = 100 * (logits.argmax(1).numpy() == labels).mean()
        assert found == pytest.approx(share, abs=100.1 / len(labels))  # one image may fall to rounding
    assert Path(task.checkpoint).is_file(), "an interrupted training goes on from here"


def test_a_node_that_does_not_see_the_runs_disk_trains_without_a_checkpoint(
    make_experiment, small_space, small_base, dataset, tmp_path
):
    """It could not write one, or what it left would stay there, and be continued by another run."""
    task = replace(a_task(small_space, tmp_path), checkpoint=str(tmp_path / "not_here" / "0.ckpt"))
    *_, trained = training_job(make_experiment(), small_space, small_base, dataset)(task)
    assert isinstance(trained, Trained) and not Path(task.checkpoint).parent.exists()


def test_inherited_weights_are_those_of_the_slim_network_and_scratch_has_none(
    make_experiment, small_space, small_base, mixed_codes, dataset, tmp_path
):
    """At a learning rate that moves nothing the weights that come out are those that training starts with."""
    task = a_task(small_space, tmp_path, mixed_codes[2])
    slim = slim_network(small_space, small_base, mixed_codes[2])
    for start in ("inherited", "scratch"):
        experiment = make_experiment(retrain={"from": start, "epochs": 0.5, "lr": 1e-20, "weight_decay": 0.0})
        *_, trained = training_job(experiment, small_space, small_base, dataset)(
            replace(task, checkpoint=str(tmp_path / start))
        )
        network = rebuilt(small_space, task, trained)
        pairs = zip(network.parameters(), slim.parameters(), strict=True)
        same = [torch.allclose(a, b, rtol=0, atol=1e-15) for a, b in pairs]
        assert all(same) == (start == "inherited")
        assert not torch.equal(network.bn1.running_mean, slim.bn1.running_mean), "measured anew"


def test_a_network_is_trained_as_its_wider_twin_where_that_is_faster(
    make_experiment, small_space, small_base, mixed_codes, dataset, tmp_path, monkeypatch
):
    """The network that comes out has the slim network's shapes, and has learnt the same."""
    found = []
    for tile in (1, 4):
        monkeypatch.setattr(Compute, "tile", tile)
        job = training_job(make_experiment(retrain={"epochs": 1}), small_space, small_base, dataset)
        task = a_task(small_space, tmp_path / str(tile), mixed_codes[3])
        *_, trained = job(task)
        found.append(rebuilt(small_space, task, trained))
        kept = torch.load(task.checkpoint, weights_only=True)["network"]
        assert (kept["conv1.weight"].shape != trained.state["conv1.weight"].shape) == (tile == 4)
    for slim, twin in zip(found[0].state_dict().values(), found[1].state_dict().values(), strict=True):
        torch.testing.assert_close(twin, slim, rtol=1e-2, atol=1e-3)


def test_the_seed_of_a_task_decides_its_weights(make_experiment, small_space, small_base, dataset, tmp_path):
    job = training_job(make_experiment(retrain={"from": "scratch"}), small_space, small_base, dataset)
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(found))
        task = a_task(small_space, tmp_path / name, seed=seed)
        *_, trained = job(task)
        found.append(rebuilt(small_space, task, trained))
    assert same_weights(found[0], found[1]) and not same_weights(found[0], found[2])


def test_the_base_network_teaches_where_that_is_asked_for(make_experiment, small_space, small_base, dataset, tmp_path):
    losses = []
    for distillation in (None, {"weight": 1.0}):
        experiment = make_experiment(retrain={"distillation": distillation})
        job = training_job(experiment, small_space, small_base, dataset)
        epoch, _ = job(a_task(small_space, tmp_path / str(distillation)))
        losses.append(epoch.loss)
    assert 0 <= losses[1] != pytest.approx(losses[0], rel=1e-3)


def test_a_code_of_another_space_fails_and_the_next_task_is_trained(
    make_experiment, small_space, small_base, dataset, tmp_path
):
    job = training_job(make_experiment(), small_space, small_base, dataset)
    bad, good = replace(a_task(small_space, tmp_path), code="h00"), a_task(small_space, tmp_path)
    (failed,) = job(bad)
    assert isinstance(failed, TrainingFailed)
    assert failed.reason.startswith("UserError: a code of resnet20 is 'h' and")
    *_, trained = job(good)
    assert isinstance(trained, Trained)


@pytest.mark.parametrize(
    ("start", "reason"), [("inherited", "KeyError: .*conv1"), ("scratch", r"UserError: .*layer1\.3\.middle")]
)
def test_a_network_that_cannot_be_built_is_a_failed_training(
    make_experiment, small_space, dataset, tmp_path, start, reason
):
    """A base network without its layers, and a space that does not fit its network."""
    space = small_space if start == "inherited" else with_a_block_more(small_space)
    job = training_job(make_experiment(retrain={"from": start}), space, nn.Linear(2, 2), dataset)
    (failed,) = job(a_task(space, tmp_path))
    assert isinstance(failed, TrainingFailed)
    assert re.match(reason, failed.reason), failed.reason


def test_a_loss_that_is_not_finite_is_a_failed_training(make_experiment, small_space, small_base, dataset, tmp_path):
    job = training_job(make_experiment(retrain={"lr": 1e30, "epochs": 2}), small_space, small_base, dataset)
    *_, failed = job(a_task(small_space, tmp_path))
    assert failed == TrainingFailed("TrainingError: the training loss is not finite; lower the learning rate")
