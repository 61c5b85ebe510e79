"""Taylor importance against central differences in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import load_data, without_norm
from torch import nn

from evoprune import trace_search_space
from evoprune.data.tensors import Data
from evoprune.networks.device import CPU
from evoprune.pruning.importance.magnitude import weight_scores, writers
from evoprune.pruning.importance.taylor import taylor_scores


@pytest.fixture
def digits(make_experiment) -> Data:
    return load_data(make_experiment().data, torch.device("cpu"))


def slope(network: torch.nn.Module, module: str, channel: int, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Derivative of the loss by a factor of one output channel of `module`, by central differences in float64."""

    def loss(factor: float) -> float:
        def scale(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
            scaled = output.clone()
            scaled[:, channel] *= factor
            return scaled

        handle = network.get_submodule(module).register_forward_hook(scale)
        try:
            return F.cross_entropy(network(inputs.double()), labels).item()
        finally:
            handle.remove()

    with torch.no_grad():
        return (loss(1 + 1e-8) - loss(1 - 1e-8)) / 2e-8  # a larger step crosses kinks of ReLU


@pytest.mark.parametrize("normless", [None, "layer1.1.conv2"])
def test_taylor_is_the_squared_slope_of_the_loss_by_each_channel(small_space, small_base, digits, normless):
    """Mean over batches of 128 images, of the squared derivative by a factor on what the channel gives out."""
    space = small_space if normless is None else without_norm(small_space, normless)
    scores = taylor_scores(space, small_base, digits, 200, CPU)
    split, double = digits.train.evenly(200), deepcopy(small_base).double()
    inputs = digits.normalise(split.images)
    for layer in (
        one for one in writers(space, small_base) if one.name in ("conv1", "layer1.1.conv2", "layer3.2.conv1")
    ):
        for channel in range(3):
            slopes = [
                slope(double, layer.norm or layer.name, channel, inputs[part], split.labels[part])
                for part in (slice(0, 128), slice(128, 200))
            ]
            assert scores[layer.name][channel] == pytest.approx(np.mean(np.square(slopes)), rel=2e-3, abs=1e-9)


@pytest.mark.parametrize("outputs", [4, 6])
def test_a_transposed_convolution_is_scored_by_its_outputs(digits, outputs):
    torch.manual_seed(0)
    reader = [nn.Conv2d(outputs, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)]
    up = nn.ConvTranspose2d(4, outputs, 2, stride=2)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), up, nn.ReLU(), *reader).eval()
    scores = taylor_scores(trace_search_space(network, torch.zeros(2, 1, 8, 8)), network, digits, 100, CPU)
    split, double = digits.train.evenly(100), deepcopy(network).double()
    slopes = [slope(double, "2", index, digits.normalise(split.images), split.labels) for index in range(outputs)]
    assert scores["2"] == pytest.approx(np.square(slopes), rel=2e-3, abs=1e-9)


def test_a_norm_without_parameters_leaves_the_filters(small_space, small_base, digits):
    small_base.layer1[1].bn2 = torch.nn.BatchNorm2d(small_base.layer1[1].bn2.num_features, affine=False)
    scores = taylor_scores(small_space, small_base, digits, 128, CPU)
    assert scores["layer1.1.conv2"].shape == (small_base.layer1[1].conv2.out_channels,)
    assert (scores["layer1.1.conv2"] > 0).all() and set(scores) == {w.name for w in writers(small_space, small_base)}
    assert "layer1.1.conv2" not in weight_scores(small_space, small_base, "bn_scale")


class Aside(nn.Module):
    """One of its layers runs in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.aside, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last((x + self.aside(x) if self.training else x).mean((2, 3)))


def test_a_layer_that_runs_in_training_only_has_no_score(digits):
    network = Aside()
    space = trace_search_space(network, digits.normalise(digits.train.images[:2]))
    assert "aside" in {layer.name for layer in writers(space, network)}
    scores = taylor_scores(space, network, digits, 100, CPU)
    assert set(scores) == {"first"} and (scores["first"] > 0).all()


def test_taylor_leaves_the_network_alone(small_space, small_base, digits):
    small_base.linear.weight.requires_grad_(False)
    small_base.conv1.weight.grad = torch.ones_like(small_base.conv1.weight)
    before = deepcopy(small_base.state_dict())
    needed = {name: parameter.requires_grad for name, parameter in small_base.named_parameters()}
    taylor_scores(small_space, small_base, digits, 100, CPU)
    assert all(torch.equal(value, before[name]) for name, value in small_base.state_dict().items())
    assert {name: parameter.requires_grad for name, parameter in small_base.named_parameters()} == needed
    assert {name for name, parameter in small_base.named_parameters() if parameter.grad is not None} == {"conv1.weight"}
    assert (small_base.conv1.weight.grad == 1).all() and not small_base.training
