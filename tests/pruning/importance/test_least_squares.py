"""Least squares importance: against refitting by another library, channel by channel; and what it does with copies."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from evoprune.pruning.compensation import RIDGE
from evoprune.pruning.importance.least_squares import _scale, activation_scores, least_squares_scores
from evoprune.pruning.moments import Moments, measure_moments
from evoprune.space.groups import Layer, Segment
from evoprune.space.space import SearchSpace

PARAMETERS = {"width": 5, "num_classes": 3, "in_channels": 5, "image_size": 4}
SPACE = SearchSpace(
    "two readers",
    {},
    (Segment("all", 5, 0),),
    (Layer("0", "conv", "all", "classes", kernel=2), Layer("1", "conv", "all", "classes")),
    PARAMETERS,
)


class TwoReaders(nn.Module):
    """Two convolutions that read the same five channels."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("0", nn.Conv2d(5, 3, 2, bias=False))
        self.add_module("1", nn.Conv2d(5, 3, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule("0")(x).mean() + self.get_submodule("1")(x).mean()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Channel 3 is nearly the sum of channels 0 and 1; channel 4 is faint."""
    torch.manual_seed(1)
    x = torch.randn(200, 5, 4, 4)
    x[:, 3] = x[:, 0] + x[:, 1] + 0.05 * x[:, 3]
    x[:, 4] *= 0.3
    return x


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(2)
    return TwoReaders()


@pytest.fixture(scope="module")
def moments(network: nn.Module, images: torch.Tensor) -> Moments:
    return measure_moments(SPACE, network, [images])


def share_lost(network: nn.Module, name: str, images: torch.Tensor, gone: list[int]) -> float:
    """What ridge regression on the channels that stay leaves of a layer's variance, counted with its penalty."""
    conv = network.get_submodule(name)
    high, wide = conv.kernel_size
    patches = nn.functional.unfold(images, (high, wide)).transpose(1, 2).flatten(0, 1).double().numpy()
    wanted = patches @ conv.weight.detach().double().flatten(1).numpy().T
    weight = conv.weight.detach().double().flatten(1).numpy()
    variance = wanted.var(axis=0).sum()
    penalty = RIDGE * patches.var(axis=0).mean()
    stays = np.repeat([channel not in gone for channel in range(5)], high * wide)
    if not stays.any():
        change, lost = np.zeros((3, 0)), variance
    else:
        ridge = Ridge(alpha=penalty * len(patches)).fit(
            patches[:, stays], wanted - patches[:, stays] @ weight[:, stays].T
        )
        change = ridge.coef_
        lost = (wanted - patches[:, stays] @ weight[:, stays].T - ridge.predict(patches[:, stays])).var(axis=0).sum()
    lost += penalty * ((change**2).sum() + (weight[:, ~stays] ** 2).sum())
    return float(lost / variance)


def test_each_error_is_what_another_librarys_refit_leaves(network, moments, images):
    scores = least_squares_scores(SPACE, network, moments)
    total = scores["0"] + scores["1"]
    order = np.argsort(total).tolist()
    for number in range(1, 6):
        gone = order[:number]
        for name in ("0", "1"):
            wanted = share_lost(network, name, images, gone)
            assert scores[name][gone[-1]] == pytest.approx(wanted, rel=0.02, abs=1e-4), (number, name)


def test_at_every_step_the_channel_goes_that_costs_least(network, moments, images):
    scores = least_squares_scores(SPACE, network, moments)
    order = np.argsort(scores["0"] + scores["1"]).tolist()
    for number in range(4):
        costs = {
            channel: sum(share_lost(network, name, images, [*order[:number], channel]) for name in ("0", "1"))
            for channel in order[number:]
        }
        assert min(costs, key=costs.get) == order[number]


def test_what_others_can_say_goes_first_however_loud_it_is(network, moments):
    scores = least_squares_scores(SPACE, network, moments)["1"]
    loudest = activation_scores(SPACE, network, moments)["1"]
    assert scores.argmin() in (0, 1, 3) and loudest.argmin() == 4


def test_layers_that_were_not_measured_have_no_score(small_space, small_base):
    moments = measure_moments(small_space, small_base, [torch.randn(8, 1, 8, 8)])
    few = Moments({name: layer for name, layer in moments.layers.items() if name != "linear"}, {"linear": "too wide"})
    for scores in (least_squares_scores, activation_scores):
        assert set(scores(small_space, small_base, few)) == set(few.layers) - {"layer1.0.shortcut"}


def test_activation_is_deviation_times_norm_by_hand(network, moments, images):
    scores = activation_scores(SPACE, network, moments)["1"]
    deviation = images.double().std((0, 2, 3), correction=0)
    norm = network.get_submodule("1").weight.detach().double().flatten(1).norm(dim=0)
    assert scores == pytest.approx((deviation * norm).numpy(), rel=1e-4)


def test_norms_that_are_no_batch_norm_of_torch_scale_as_theirs_do():
    """Of a network of the user's own; they ended in an error without a word."""
    frozen = FrozenBatchNorm2d(3, eps=0.5)
    frozen.running_var.copy_(torch.tensor([0.5, 3.5, 1.5]))
    frozen.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
    torch.testing.assert_close(_scale(frozen), torch.tensor([1.0, 1.0, -(0.5**0.5)], dtype=torch.float64))
    instance = nn.InstanceNorm2d(2, eps=0.0, track_running_stats=True)
    assert instance.running_var is not None
    instance.running_var.copy_(torch.tensor([4.0, 1.0]))
    torch.testing.assert_close(_scale(instance), torch.tensor([0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(_scale(nn.GroupNorm(1, 2)), torch.ones(1, dtype=torch.float64))
