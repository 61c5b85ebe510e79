"""Moments of what layers read, against NumPy's own covariance of patches that are cut out by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from traced import Forward, images

from evoprune import load_search_space, trace_search_space
from evoprune.pruning.moments import MOST_INPUTS, load_moments, measure_moments, save_moments
from evoprune.space.groups import Layer, Segment
from evoprune.space.space import SearchSpace

PARAMETERS = {"width": 3, "num_classes": 2, "in_channels": 3, "image_size": 6}


def one_layer(kind: str, width: int) -> SearchSpace:
    """A layer called `0` that reads all of one segment."""
    return SearchSpace("one", {}, (Segment("all", width, 0),), (Layer("0", kind, "all", "classes"),), PARAMETERS)


def cut_out(images: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Every patch that a convolution reads, one per row."""
    (down, right), (high, wide), (pad, _) = conv.stride, conv.kernel_size, conv.padding
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows = range(0, padded.shape[2] - high + 1, down)
    columns = range(0, padded.shape[3] - wide + 1, right)
    return np.concatenate(
        [padded[:, :, y : y + high, x : x + wide].reshape(len(padded), -1) for y in rows for x in columns]
    )


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 2, 3, padding=1),
        nn.Conv2d(3, 2, 3, stride=2, padding=1),
        nn.Conv2d(3, 2, 1, stride=2),
        nn.Conv2d(3, 2, (2, 3)),
    ],
    ids=str,
)
def test_moments_of_a_convolution_are_those_of_its_patches(conv):
    images = torch.randn(10, 3, 6, 6, generator=torch.Generator().manual_seed(0)) + 1
    found = measure_moments(one_layer("conv", 3), nn.Sequential(conv), images.split(4)).layers["0"]
    patches = cut_out(images.numpy().astype(np.float64), conv)
    np.testing.assert_allclose(found.mean, patches.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(patches.T, bias=True), atol=1e-5)


def test_moments_of_a_linear_layer_are_those_of_its_inputs():
    inputs = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3, 4])
    found = measure_moments(one_layer("linear", 4), nn.Sequential(nn.Linear(4, 2)), [inputs]).layers["0"]
    np.testing.assert_allclose(found.mean, inputs.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(inputs.numpy().T, bias=True), rtol=1e-4, atol=1e-5)


def test_moments_of_what_is_nearly_constant_are_exact():
    """In float32, products of 1 and the square of their mean differ by more than such a variance."""
    inputs = 1 + 1e-4 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Linear(4, 2))
    found = measure_moments(one_layer("linear", 4), network, inputs.split(16)).layers["0"]
    exact = np.cov(inputs.double().numpy().T, bias=True)
    np.testing.assert_allclose(found.covariance, exact, atol=1e-4 * exact.max())
    np.testing.assert_allclose(found.mean, inputs.double().mean(0), atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 4), (5, 4), (2, 3, 4)], ids=str)
def test_a_linear_layer_reads_the_last_axis_of_a_map(shape):
    """As in ConvNeXt, and where channels come after tokens; a side as long as the width hides a mistake."""
    inputs = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3, 4]) + 1
    found = measure_moments(one_layer("linear", 4), nn.Sequential(nn.Linear(4, 2)), [inputs]).layers["0"]
    rows = inputs.double().numpy().reshape(-1, 4)
    np.testing.assert_allclose(found.mean, rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), rtol=1e-4, atol=1e-4)


def odd_calls(net, x):
    """Of its layers one is given its input by name, one lends its weight, one runs in training only."""
    x = net.second(input=net.first(x))
    x = F.conv2d(x, net.third.weight) + (net.aside(x) if net.training else 0)
    return net.last(F.conv2d(x, net.own).mean((2, 3)))


def test_layers_that_are_called_in_other_ways_are_measured_or_named():
    sizes = {"first": (3, 4), "second": (4, 5), "third": (5, 4), "aside": (5, 4)}
    network = Forward(odd_calls, last=nn.Linear(2, 2), **{name: nn.Conv2d(*size, 1) for name, size in sizes.items()})
    network.own = nn.Parameter(torch.randn(2, 4, 1, 1))
    space = trace_search_space(network.eval(), images())
    found = measure_moments(space, network, [images()])
    not_called = "its forward was not called"
    assert found.left_out == {"third": not_called, "aside": not_called, "own": "no module has its weight"}
    read = network.first(images()).detach().transpose(0, 1).flatten(1)
    np.testing.assert_allclose(found.layers["second"].covariance, np.cov(read.numpy(), bias=True), atol=1e-5)


class Scaled(nn.Conv2d):
    """Equalised learning rate: the weight in use is not the one that is stored."""

    def forward(self, x):
        return F.conv2d(x, self.weight * 5, self.bias)


class Sign(nn.Module):
    def forward(self, x):
        return x.sign()


def test_a_layer_whose_weight_in_use_is_another_is_left_out():
    """Solved for the stored weight, its outputs were farther from the base network's than without."""
    computed = torch.nn.utils.parametrize.register_parametrization(nn.Conv2d(5, 4, 1), "weight", Sign())
    network = nn.Sequential(nn.Conv2d(3, 6, 1), Scaled(6, 5, 1), computed, nn.Conv2d(4, 2, 1), nn.Flatten()).eval()
    found = measure_moments(trace_search_space(network, images()), network, [images()])
    assert set(found.layers) == {"3"}
    assert found.left_out == {"1": "its forward does more than apply its weight", "2": "its weight is computed"}


@pytest.mark.parametrize("training", [True, False])
def test_a_network_stays_as_it_was(small_space, small_base, training):
    small_base.train(training)
    before = {name: value.clone() for name, value in small_base.state_dict().items()}
    found = measure_moments(small_space, small_base, [torch.randn(8, 1, 8, 8)])
    assert set(found.layers) == {layer.name for layer in small_space.layers if layer.inputs != "image"}
    assert small_base.training is training
    assert all(torch.equal(value, before[name]) for name, value in small_base.state_dict().items())
    assert not any(module._forward_pre_hooks for module in small_base.modules())


def test_what_is_not_measured_is_named_with_the_reason():
    wide, grouped = nn.Conv2d(257, 2, 3), nn.Conv2d(4, 2, 3, groups=2)
    found = measure_moments(one_layer("conv", 257), nn.Sequential(wide), [torch.randn(1, 257, 4, 4)])
    assert not found.layers and found.left_out == {"0": f"reads 2313 values, more than {MOST_INPUTS}"}
    found = measure_moments(one_layer("conv", 4), nn.Sequential(grouped), [torch.randn(1, 4, 4, 4)])
    assert not found.layers and "grouped" in found.left_out["0"]


def test_layers_of_the_networks_at_hand_are_all_measured():
    for name in ("resnet20", "resnet56"):
        widest = max(
            space.segment(layer.inputs).width * layer.kernel**2
            for space in [load_search_space(name)]
            for layer in space.layers
            if layer.inputs != "image"
        )
        assert widest == 576 <= MOST_INPUTS


def test_what_is_read_is_what_was_written(small_space, small_base, tmp_path):
    moments = measure_moments(small_space, small_base, [torch.randn(8, 1, 8, 8)])
    moments = type(moments)(moments.layers, {"other": "too wide"})
    save_moments(moments, tmp_path / "moments.safetensors")
    again = load_moments(tmp_path / "moments.safetensors")
    assert again.left_out == {"other": "too wide"} and set(again.layers) == set(moments.layers)
    for name, layer in moments.layers.items():
        assert (again.layers[name].mean == layer.mean).all()
        assert (again.layers[name].covariance == layer.covariance).all()
