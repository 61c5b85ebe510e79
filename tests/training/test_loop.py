"""The training loop: learning rates against torch's own, seeds, interruptions, deadlines."""

import math
import time
from pathlib import Path

import pytest
import torch
from helpers import few_digits, same_weights
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from evoprune import build_network
from evoprune.common.errors import TrainingError
from evoprune.config import TrainingConfig
from evoprune.data.tensors import Data
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import CPU
from evoprune.space.space import SearchSpace
from evoprune.training.loop import Epoch, TrainingOptions, learning_rate, steps_of, train

RECIPE = TrainingConfig(epochs=3.0, batch_size=32, lr=0.1)


@pytest.fixture(scope="module")
def digits() -> Data:
    """160 real training images: 5 steps an epoch at batch size 32."""
    return few_digits(160, flip=True)


def fresh(space: SearchSpace, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(space)


def train_all(network: nn.Module, data: Data, recipe: TrainingConfig, **options) -> list[Epoch]:
    return list(train(network, data, recipe, CPU, TrainingOptions(**options)))


def used_rates(space: SearchSpace, data: Data, recipe: TrainingConfig) -> tuple[list[float], list[Epoch]]:
    """The learning rate of every step that the optimiser took, and the epochs that were reported."""
    rates: list[float] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        epochs = train_all(fresh(space), data, recipe)
    finally:
        hook.remove()
    return rates, epochs


def cosine_rates(lr: float, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    rates = []
    for _ in range(num_steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(("epochs", "num_steps"), [(3.0, 15), (0.6, 3), (1.4, 7)])
def test_the_learning_rate_is_torchs_cosine(small_space, digits, epochs, num_steps):
    rates, reported = used_rates(small_space, digits, RECIPE.model_copy(update={"epochs": epochs}))
    assert rates == pytest.approx(cosine_rates(0.1, num_steps))
    assert reported[-1].lr == pytest.approx(0, abs=1e-12)
    assert [epoch.number for epoch in reported] == list(range(1, math.ceil(epochs) + 1))


def test_half_an_epoch_ends_near_zero_too(small_space, digits):
    recipe = RECIPE.model_copy(update={"epochs": 0.5, "batch_size": 8})  # 10 of 20 steps
    rates, _ = used_rates(small_space, digits, recipe)
    assert len(rates) == 10 and rates[0] == 0.1
    assert rates[-1] == pytest.approx(0.1 * (1 + math.cos(0.9 * math.pi)) / 2)
    assert rates[-1] < 0.003


def test_warm_up_rises_in_even_steps(small_space, digits):
    rates, _ = used_rates(small_space, digits, RECIPE.model_copy(update={"warmup_epochs": 1.0}))
    assert rates[:6] == pytest.approx([0.1 * step / 6 for step in range(1, 7)])
    assert rates[5:] == pytest.approx(cosine_rates(0.1, 10))


def test_warm_up_longer_than_the_training_still_trains(small_space, digits):
    rates, _ = used_rates(small_space, digits, RECIPE.model_copy(update={"warmup_epochs": 9.0, "epochs": 1.0}))
    assert rates == pytest.approx([0.1 / 3, 0.2 / 3, *cosine_rates(0.1, 3)]), "half of the steps at most"


def test_no_epochs_change_nothing(small_space, digits):
    network = fresh(small_space)
    assert train_all(network, digits, RECIPE.model_copy(update={"epochs": 0.0})) == []
    assert same_weights(network, fresh(small_space)) and not network.training


def test_training_learns_and_reports_its_loss(small_space, digits):
    network = fresh(small_space)
    epochs = train_all(network, digits, RECIPE.model_copy(update={"epochs": 12.0}))
    assert epochs[-1].loss < 0.75 * epochs[0].loss
    assert epochs[0].loss == pytest.approx(math.log(10), abs=1)
    assert accuracy(network, digits, digits.train) > 35 and not network.training


def test_the_seed_decides_the_weights(small_space, digits):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(100 + len(networks))
        networks.append(build_network(small_space))
        networks[-1].load_state_dict(fresh(small_space).state_dict())
        train_all(networks[-1], digits, RECIPE, seed=seed)
    assert same_weights(networks[0], networks[1]) and not same_weights(networks[0], networks[2])


@pytest.mark.parametrize(("done", "averaging"), [(1, None), (2, None), (3, None), (1, 0.9), (3, 0.9)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(small_space, digits, tmp_path: Path, done, averaging):
    whole = fresh(small_space)
    epochs = train_all(whole, digits, RECIPE, seed=3, averaging=averaging)
    checkpoint = tmp_path / "new" / "training.ckpt"
    options = TrainingOptions(seed=3, averaging=averaging, checkpoint=checkpoint)
    interrupted = train(fresh(small_space), digits, RECIPE, CPU, options)
    for _ in range(done):
        next(interrupted)
    interrupted.close()
    resumed = fresh(small_space, seed=99)
    rest = train_all(resumed, digits, RECIPE, seed=3, averaging=averaging, checkpoint=checkpoint)
    assert [epoch.number for epoch in rest] == list(range(done + 1, 4))
    assert [epoch.loss for epoch in rest] == [epoch.loss for epoch in epochs[done:]]
    assert same_weights(resumed, whole)


def test_what_a_network_draws_comes_from_the_seed_alone(digits, tmp_path: Path):
    """Dropout, after any number of other draws, and where a training is continued."""

    def dropping() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 10))

    whole, other, again = (dropping() for _ in range(3))
    train_all(whole, digits, RECIPE)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_all(other, digits, RECIPE)
    assert torch.equal(torch.get_rng_state(), before), "draws of others go on as if there had been no training"
    options = TrainingOptions(checkpoint=tmp_path / "training.ckpt")
    for _ in zip(range(2), train(dropping(), digits, RECIPE, CPU, options), strict=False):
        pass
    list(train(again, digits, RECIPE, CPU, options))
    assert same_weights(whole, other) and same_weights(whole, again)


class Counting(nn.Module):
    """Has a buffer that its state leaves out, and that training changes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.register_buffer("offset", torch.zeros(64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.offset.lerp_(x.mean(0), 0.1)
        return self.head(x - self.offset)


def test_buffers_outside_of_the_state_go_on_too(digits, tmp_path: Path):
    torch.manual_seed(0)
    whole, broken, again = (Counting() for _ in range(3))
    for network in (broken, again):
        network.load_state_dict(whole.state_dict())
    train_all(whole, digits, RECIPE)
    options = TrainingOptions(checkpoint=tmp_path / "training.ckpt")
    for _ in zip(range(2), train(broken, digits, RECIPE, CPU, options), strict=False):
        pass
    list(train(again, digits, RECIPE, CPU, options))
    assert same_weights(whole, again) and torch.equal(whole.offset, again.offset) and whole.offset.any()


def test_averaged_weights_are_a_moving_average_of_those_of_all_steps(small_space, digits):
    """By hand: after step 1 those of step 1, then 0.9 of the average and 0.1 of the step's; the same of buffers."""
    seen: list[dict[str, torch.Tensor]] = []
    network, plain = fresh(small_space), fresh(small_space)

    def remember(done: float) -> None:
        seen.append({name: value.clone() for name, value in plain.state_dict().items()})

    train_all(plain, digits, RECIPE, seed=3, after_step=remember)
    train_all(network, digits, RECIPE, seed=3, averaging=0.9)
    for name in ("conv1.weight", "bn1.running_var", "linear.bias"):
        average = seen[1][name]  # the first entry is of before the first step
        for after in seen[2:]:
            average = 0.9 * average + 0.1 * after[name]
        torch.testing.assert_close(network.state_dict()[name], average)
    assert not same_weights(network, plain) and not network.training


def test_a_loss_that_is_not_finite_ends_training(small_space, digits):
    with pytest.raises(TrainingError, match="not finite"):
        train_all(fresh(small_space), digits, RECIPE.model_copy(update={"lr": 1e30}))


def test_a_deadline_ends_training(small_space, digits):
    with pytest.raises(TrainingError, match="time limit"):
        train_all(fresh(small_space), digits, RECIPE, deadline=time.monotonic() - 1)
    assert len(train_all(fresh(small_space), digits, RECIPE, deadline=time.monotonic() + 600)) == 3


def test_training_is_a_library_call_that_prints_nothing(small_space, digits, capfd):
    """A network, data and a recipe are all it takes: no experiment, no folder, no YAML."""
    network = fresh(small_space)
    epochs = list(train(network, digits, RECIPE))
    assert [(epoch.number, epoch.num_epochs) for epoch in epochs] == [(1, 3), (2, 3), (3, 3)]
    explicit = fresh(small_space)
    assert [epoch.loss for epoch in train_all(explicit, digits, RECIPE, seed=0)] == [epoch.loss for epoch in epochs]
    assert same_weights(network, explicit) and not same_weights(network, fresh(small_space))
    assert capfd.readouterr() == ("", "")


def test_every_step_is_torchs_sgd_with_nesterov_momentum(small_space, digits):
    """Two epochs by hand, with the loop's own images: the same weights to the rounding of a fused step."""
    recipe = TrainingConfig(epochs=2, batch_size=32, lr=0.05, momentum=0.8, weight_decay=1e-3, label_smoothing=0.1)
    network, by_hand = fresh(small_space), fresh(small_space).to(memory_format=torch.channels_last).train()
    train_all(network, digits, recipe, seed=5)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.05, momentum=0.8, weight_decay=1e-3, nesterov=True)
    steps, loss_of = steps_of(recipe, digits), nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in (0, 1):
        for number, images, labels in steps.batches(digits, 5, epoch):
            optimizer.param_groups[0]["lr"] = learning_rate(recipe, steps, number)
            optimizer.zero_grad()
            loss_of(by_hand(images), labels).backward()
            optimizer.step()
    for mine, theirs in zip(network.state_dict().values(), by_hand.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_after_step_is_told_how_far_the_training_is_and_may_change_weights(small_space, digits, tmp_path):
    """Also of a training that goes on; a weight that it sets to zero is zero at the end, with momentum and decay."""
    told: list[float] = []
    network = fresh(small_space)

    def after_step(done: float) -> None:
        told.append(done)
        with torch.no_grad():
            network.conv1.weight[0] = 0

    recipe = RECIPE.model_copy(update={"epochs": 1.6})
    train_all(network, digits, recipe, after_step=after_step)
    assert told == [step / 8 for step in range(9)]
    assert not network.conv1.weight[0].any() and network.conv1.weight[1].any()

    told.clear()
    trained = train(
        fresh(small_space), digits, recipe, CPU, TrainingOptions(checkpoint=tmp_path / "c", after_step=told.append)
    )
    next(trained)
    trained.close()
    train_all(network, digits, recipe, checkpoint=tmp_path / "c", after_step=told.append)
    assert told == [0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 5 / 8, 6 / 8, 7 / 8, 1]


def other_shape(path: Path) -> None:
    torch.save({"network": {}, "optimizer": {}, "epochs_done": 1}, path)


def too_many_epochs(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "epochs_done": 99}, path)


def other_momenta(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3)
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(bytes(5000)),
        other_shape,
        too_many_epochs,
        other_momenta,
    ],
)
def test_a_checkpoint_that_cannot_be_continued_begins_anew_with_a_notice(small_space, digits, tmp_path, damage):
    """Once such a file failed every later run."""
    checkpoint, notices = tmp_path / "training.ckpt", []
    next(train(fresh(small_space), digits, RECIPE, CPU, TrainingOptions(seed=3, checkpoint=checkpoint)))
    damage(checkpoint)
    network = fresh(small_space)
    options = TrainingOptions(seed=3, checkpoint=checkpoint, notice=notices.append)
    epochs = list(train(network, digits, RECIPE, CPU, options))
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert len(notices) == 1 and notices[0].startswith(f"{checkpoint}: cannot be continued (")
    whole = fresh(small_space)
    train_all(whole, digits, RECIPE, seed=3)
    assert same_weights(network, whole)
