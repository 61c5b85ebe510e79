"""Recalibration measures what reaches each norm; neutral norms get statistics and keep their function."""

import pytest
import torch
from helpers import few_digits, plain_data, same_weights
from torch import Tensor, nn

from evoprune.data.tensors import Data
from evoprune.networks.device import CPU
from evoprune.training.batch_norm import measure_neutral_norms, recalibrate


@pytest.fixture(scope="module")
def digits() -> Data:
    """160 real training images."""
    return few_digits(160, flip=True)


def random_data(count: int) -> Data:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=rng, dtype=torch.uint8)
    return plain_data(images, torch.randint(0, 10, (count,), generator=rng))


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
    recalibrate(network, data, 300)
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
        recalibrate(network, data, 64)
    assert same_weights(first, second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), two_norms().parameters(), strict=True))


def test_every_kind_of_batch_norm_is_measured_again():
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4))
    network[2].running_mean.fill_(100.0)
    data = random_data(64)
    recalibrate(network, data, 64)
    with torch.no_grad():
        seen = network[:2](data.normalise(data.train.batch(torch.arange(64))[0]))
    torch.testing.assert_close(network[2].running_mean, seen.mean(0), rtol=1e-4, atol=1e-5)


def test_instance_norms_that_keep_statistics_are_measured_again():
    norm = nn.InstanceNorm2d(1, track_running_stats=True)
    norm.running_mean.fill_(100.0)
    data = random_data(520)  # more than one batch
    recalibrate(norm, data, 512)
    pixels = data.train.images / 255
    assert torch.allclose(norm.running_mean, pixels.mean().view(1), atol=0.002)
    assert torch.allclose(norm.running_var, pixels.var((2, 3)).mean().view(1), rtol=0.02)
    assert norm.momentum == 0.1 and not norm._forward_pre_hooks


class FrozenNorm(nn.Sequential):
    """Keeps its first norm in eval mode, as fine-tuning of detectors does."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self[1].eval()
        return self


def test_norms_that_a_network_keeps_in_eval_mode_keep_their_statistics():
    network = FrozenNorm(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    network[1].running_mean.fill_(0.5)
    recalibrate(network, random_data(64), 64)
    assert network[1].running_mean.tolist() == [0.5] * 3 and network[1].running_var.tolist() == [1] * 3
    assert (network[3].running_mean != 0).all() and network[1].momentum == 0.1


def test_what_a_network_draws_is_the_same_again():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout(0.5), nn.BatchNorm2d(4))
    found = []
    for _ in range(2):
        recalibrate(network, random_data(64), 64)
        found.append(network[2].running_mean.clone())
    assert torch.equal(*found)


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
        recalibrate(network, data, 400)
    assert largest_change(measured, before, data) < 0.01
    assert largest_change(raw, before, data) > 1


def test_norms_that_cannot_take_the_inverse_or_are_never_called_stay():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, affine=False), nn.Flatten())
    network[0].unused = nn.BatchNorm2d(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert measure_neutral_norms(network, random_data(64), 64, CPU) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_only_neutral_norms_are_measured(small_space, small_base, digits):
    images = digits.normalise(digits.train.images)
    norm = small_base.layer2[0].shortcut[1]
    norm.load_state_dict(nn.BatchNorm2d(norm.num_features).state_dict())
    others = {name: value.clone() for name, value in small_base.state_dict().items() if "shortcut.1" not in name}
    with torch.no_grad():
        before = small_base(images)
        assert measure_neutral_norms(small_base, digits, 160, CPU) == 1
        assert float((small_base(images) - before).abs().max()) <= 1e-4
    assert norm.running_mean.abs().max() > 0.01
    assert all(torch.equal(small_base.state_dict()[name], value) for name, value in others.items())
    assert measure_neutral_norms(small_base, digits, 160, CPU) == 0
