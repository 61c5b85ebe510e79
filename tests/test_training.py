"""Training, recalibration, accuracy and distillation, against sums done by hand and against torch itself."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from evoprune import build_network
from evoprune.networks.device import Compute
from evoprune.config import DataConfig, DistillationConfig, TrainingConfig
from evoprune.data.tensors import Data, Split, load_data
from evoprune.space.space import SearchSpace
from evoprune.common.errors import TrainingError
from evoprune.evaluation.accuracy import accuracy
from evoprune.training.batch_norm import measure_neutral_norms, recalibrate
from evoprune.training.distillation import Teacher
from evoprune.training.loop import Epoch, train

CPU = Compute(torch.device("cpu"), bf16=False)
RECIPE = TrainingConfig(epochs=3.0, batch_size=32, lr=0.1)


@pytest.fixture(scope="module")
def digits() -> Data:
    """160 real training images: 5 steps an epoch at batch size 32."""
    data = load_data(DataConfig(dataset="digits", validation=0.2, crop=1, flip=True), CPU.device)
    return replace(data, train=Split(data.train.images[:160], data.train.labels[:160]))


def plain_data(images: Tensor, labels: Tensor) -> Data:
    """Images that reach the network as pixel / 255."""
    split = Split(images, labels)
    return Data(split, split, torch.zeros(1, 1, 1), torch.ones(1, 1, 1), crop=0, flip=False, num_classes=10)


def random_data(count: int) -> Data:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=rng, dtype=torch.uint8)
    return plain_data(images, torch.randint(0, 10, (count,), generator=rng))


def fresh(space: SearchSpace, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(space)


def train_all(network: nn.Module, data: Data, recipe: TrainingConfig, seed: int = 0, **options) -> list[Epoch]:
    return list(train(network, data, recipe, CPU, seed, **options))


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


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


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
    assert len(rates) == 5 and min(rates) > 0 and max(rates) <= 0.1


def test_no_epochs_change_nothing(small_space, digits):
    network = fresh(small_space)
    assert train_all(network, digits, RECIPE.model_copy(update={"epochs": 0.0})) == []
    assert same_weights(network, fresh(small_space)) and not network.training


def test_training_learns_and_reports_its_loss(small_space, digits):
    network = fresh(small_space)
    epochs = train_all(network, digits, RECIPE.model_copy(update={"epochs": 12.0}))
    assert epochs[-1].loss < 0.75 * epochs[0].loss
    assert epochs[0].loss == pytest.approx(math.log(10), abs=1)
    assert accuracy(network, digits, digits.train, CPU) > 35 and not network.training


def test_the_seed_decides_the_weights(small_space, digits):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(100 + len(networks))
        networks.append(build_network(small_space))
        networks[-1].load_state_dict(fresh(small_space).state_dict())
        train_all(networks[-1], digits, RECIPE, seed)
    assert same_weights(networks[0], networks[1]) and not same_weights(networks[0], networks[2])


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(small_space, digits, tmp_path: Path, done):
    whole = fresh(small_space)
    epochs = train_all(whole, digits, RECIPE, seed=3)
    checkpoint = tmp_path / "new" / "training.ckpt"
    interrupted = train(fresh(small_space), digits, RECIPE, CPU, 3, checkpoint=checkpoint)
    for _ in range(done):
        next(interrupted)
    interrupted.close()
    resumed = fresh(small_space, seed=99)
    rest = train_all(resumed, digits, RECIPE, seed=3, checkpoint=checkpoint)
    assert [epoch.number for epoch in rest] == list(range(done + 1, 4))
    assert [epoch.loss for epoch in rest] == [epoch.loss for epoch in epochs[done:]]
    assert same_weights(resumed, whole)


def test_a_loss_that_is_not_finite_ends_training(small_space, digits):
    with pytest.raises(TrainingError, match="not finite"):
        train_all(fresh(small_space), digits, RECIPE.model_copy(update={"lr": 1e30}))


def test_a_deadline_ends_training(small_space, digits):
    with pytest.raises(TrainingError, match="time limit"):
        train_all(fresh(small_space), digits, RECIPE, deadline=time.monotonic() - 1)
    assert len(train_all(fresh(small_space), digits, RECIPE, deadline=time.monotonic() + 600)) == 3


def two_norms() -> nn.Sequential:
    torch.manual_seed(0)
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10)]
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), *tail)


def flat_channels(x: Tensor) -> Tensor:
    return x.detach().double().permute(1, 0, 2, 3).flatten(1)


def test_recalibration_measures_what_reaches_each_norm():
    data, network = random_data(300), two_norms()
    network[1].momentum, network[4].momentum = 0.1, 0.3
    first = network[0](data.train.images / 255)
    values = flat_channels(first)
    mean, biased = values.mean(1), values.var(1, unbiased=False)
    normed = (first - mean.float().view(1, 3, 1, 1)) / (biased.float().view(1, 3, 1, 1) + network[1].eps).sqrt()
    second = flat_channels(network[3](normed.relu()))
    recalibrate(network, data, 300, CPU)
    for norm, wanted in ((network[1], values), (network[4], second)):
        assert torch.allclose(norm.running_mean.double(), wanted.mean(1), atol=1e-5)
        assert torch.allclose(norm.running_var.double(), wanted.var(1, unbiased=True), rtol=1e-4)
    assert (network[1].momentum, network[4].momentum) == (0.1, 0.3)
    assert not network.training


def test_recalibration_gives_every_image_the_same_weight():
    data, network = random_data(520), two_norms()
    data.train.images[:20] = 255  # whatever batch these fall into must not count more
    values = flat_channels(network[0](data.train.images / 255))
    for seed in range(3):
        recalibrate(network, data, 520, CPU, seed)
        assert torch.allclose(network[1].running_mean.double(), values.mean(1), atol=1e-4)
        assert torch.allclose(network[1].running_var.double(), values.var(1), rtol=0.05)


def test_recalibration_forgets_earlier_statistics_and_keeps_weights():
    data, first, second = random_data(100), two_norms(), two_norms()
    first[1].running_mean += 50
    for network in (first, second):
        recalibrate(network, data, 64, CPU)
    assert same_weights(first, second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), two_norms().parameters(), strict=True))


def neutral_network() -> nn.Sequential:
    """A norm that stands for 'no norm' behind a convolution whose outputs are far from mean 0 and variance 1."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10))
    with torch.no_grad():
        network[0].weight.mul_(10)
        network[0].bias.add_(5)
        network[1].weight.fill_((1 + network[1].eps) ** 0.5)
    return network.eval()


def largest_change(network: nn.Module, before: Tensor, data: Data) -> float:
    with torch.no_grad():
        return float((network(data.train.images / 255) - before).abs().max())


def test_neutral_norms_survive_recalibration_once_they_are_measured():
    data, measured, raw = random_data(400), neutral_network(), neutral_network()
    with torch.no_grad():
        before = raw(data.train.images / 255)
    assert measure_neutral_norms(measured, data, 400, CPU) == 1
    assert largest_change(measured, before, data) <= 1e-4
    for network in (measured, raw):
        recalibrate(network, data, 400, CPU)
    assert largest_change(measured, before, data) < 0.01
    assert largest_change(raw, before, data) > 1


def test_only_neutral_norms_are_measured(small_space, small_parent, digits):
    images = digits.normalise(digits.train.images)
    norm = small_parent.layer2[0].shortcut[1]
    norm.load_state_dict(nn.BatchNorm2d(norm.num_features).state_dict())
    others = {name: value.clone() for name, value in small_parent.state_dict().items() if "shortcut.1" not in name}
    with torch.no_grad():
        before = small_parent(images)
        assert measure_neutral_norms(small_parent, digits, 160, CPU) == 1
        assert float((small_parent(images) - before).abs().max()) <= 1e-4
    assert norm.running_mean.abs().max() > 0.01
    assert all(torch.equal(small_parent.state_dict()[name], value) for name, value in others.items())
    assert measure_neutral_norms(small_parent, digits, 160, CPU) == 0


class ReadsFirstPixel(nn.Module):
    """Predicts the class that the first pixel's value names."""

    def forward(self, images: Tensor) -> Tensor:
        return F.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10).float()


def test_accuracy_is_the_share_of_right_answers():
    labels = torch.arange(900) % 10
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    images[:123, :, 0, 0] = (images[:123, :, 0, 0] + 1) % 10
    network = ReadsFirstPixel().train()
    data = plain_data(images, labels)
    assert accuracy(network, data, data.validation, CPU) == pytest.approx(100 * 777 / 900, abs=1e-4)
    assert not network.training


def test_outputs_that_are_not_finite_have_no_accuracy():
    data = random_data(20)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        accuracy(network, data, data.validation, CPU)


def test_distillation_is_hintons_mix():
    logits, target = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    config = DistillationConfig(weight=0.7, temperature=2.5)
    supervised = 1.25

    def softened(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values / 2.5)
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = softened(target), softened(logits)
    wanted = 0.3 * supervised + 0.7 * 2.5**2 * np.mean((p * np.log(p / q)).sum(axis=1))
    teacher = Teacher(nn.Identity(), config)
    loss = teacher.loss(torch.tensor(logits), torch.tensor(target), torch.tensor(supervised))
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
