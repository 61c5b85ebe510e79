"""Importance from weights by hand: each criterion, and which layers have scores."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers import without_norm
from torch import nn
from traced import images

from evoprune import trace_search_space
from evoprune.pruning.importance.magnitude import (
    WEIGHT_CRITERIA,
    consumer_scores,
    parameter_norms,
    readers,
    weight_scores,
    writers,
)


def filters(network: torch.nn.Module, name: str) -> np.ndarray:
    return network.get_submodule(name).weight.detach().numpy().astype(np.float64)


def by_loops(weight: np.ndarray) -> np.ndarray:
    """Sum of the Euclidean distances of each filter to all others."""
    return np.array([sum(np.sqrt(((one - other) ** 2).sum()) for other in weight) for one in weight])


HAND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda weight: np.abs(weight).sum(axis=(1, 2, 3)),
    "l2": lambda weight: np.sqrt((weight**2).sum(axis=(1, 2, 3))),
    "geometric_median": by_loops,
}


@pytest.mark.parametrize("criterion", list(HAND))
def test_scores_of_filters_by_hand(small_space, small_base, criterion):
    scores = weight_scores(small_space, small_base, criterion)
    assert list(scores) == [layer.name for layer in writers(small_space, small_base)]
    for name, values in scores.items():
        assert values.dtype == np.float64
        assert values == pytest.approx(HAND[criterion](filters(small_base, name)))


def test_scale_of_the_norm_that_follows(small_space, small_base):
    small_base.get_submodule("layer2.1.bn1").weight.data.neg_()
    scores = weight_scores(small_space, small_base, "bn_scale")
    norms = {layer.name: layer.norm for layer in small_space.layers}
    for name, values in scores.items():
        assert values == pytest.approx(np.abs(filters(small_base, norms[name])))


def test_a_layer_without_a_norm_has_no_scale(small_space, small_base):
    scores = weight_scores(without_norm(small_space, "layer1.1.conv2"), small_base, "bn_scale")
    assert {layer.name for layer in writers(small_space, small_base)} - set(scores) == {"layer1.1.conv2"}


def test_adapters_and_the_classifier_have_no_scores(small_space, small_base):
    names = {layer.name for layer in writers(small_space, small_base)}
    assert {layer.name for layer in small_space.layers} - names == {"layer1.0.shortcut", "linear"}


@pytest.mark.parametrize("criterion", list(WEIGHT_CRITERIA))
def test_scores_from_weights_leave_the_network_alone(small_space, small_base, criterion):
    before = deepcopy(small_base.state_dict())
    weight_scores(small_space, small_base, criterion)
    assert all(torch.equal(value, before[name]) for name, value in small_base.state_dict().items())


def test_what_the_consumers_take_of_a_channel_by_hand(small_space, small_base):
    scores = consumer_scores(small_space, small_base)
    assert set(scores) == {layer.name for layer in small_space.layers} - {"conv1", "layer1.0.shortcut"}
    for name, values in scores.items():
        weight = filters(small_base, name)
        wanted = [np.sqrt((weight[:, channel] ** 2).sum()) for channel in range(weight.shape[1])]
        assert values.dtype == np.float64 and values == pytest.approx(wanted)


def test_a_shortcut_that_only_hands_channels_on_says_nothing_of_them(small_space, small_base):
    """An imported shortcut without parameters, as a convolution that selects; one with other weights counts."""
    shortcut = small_base.get_submodule("layer2.0.shortcut.0")
    with torch.no_grad():
        shortcut.weight.zero_()
        shortcut.weight[2:6, :, 0, 0] = torch.eye(4)
    for layers in (writers(small_space, small_base), readers(small_space, small_base)):
        names = {layer.name for layer in layers}
        assert "layer2.0.shortcut.0" not in names and "layer3.0.shortcut.0" in names
    shortcut.weight.data[2, 0] = 0.5
    assert "layer2.0.shortcut.0" in {layer.name for layer in writers(small_space, small_base)}


def test_where_nothing_else_writes_to_a_segment_a_selection_counts(small_space, small_base):
    with torch.no_grad():
        for index in range(3):
            small_base.get_submodule(f"layer1.{index}.conv1").kernel_size = (1, 1)
            small_base.get_submodule(f"layer1.{index}.conv1").weight = torch.nn.Parameter(
                torch.eye(4)[:, :, None, None]
            )
    names = {layer.name for layer in writers(small_space, small_base)}
    assert {f"layer1.{index}.conv1" for index in range(3)} <= names


def test_norms_of_all_parameters_of_each_channel_by_hand():
    """Of filters, of what reads them, of scale and shift; a grouped convolution has inputs of each group."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(216, 2)
    ).eval()
    space = trace_search_space(network, images())
    squares = {name: value.detach().double().square() for name, value in network.named_parameters()}
    first = squares["0.weight"].sum((1, 2, 3)) + squares["0.bias"] + squares["1.weight"] + squares["1.bias"]
    first += squares["2.weight"].view(2, 3, 2, 9).sum((1, 3)).flatten()
    second = squares["2.weight"].sum((1, 2, 3)) + squares["2.bias"] + squares["4.weight"].view(2, 6, 36).sum((0, 2))
    assert parameter_norms(space, network) == pytest.approx(torch.cat([first, second]).sqrt().numpy())
