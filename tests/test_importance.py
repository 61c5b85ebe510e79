"""Importance by hand: each criterion, what a segment makes of its layers, and ranks."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import NINE_CODES

from evoprune import UserError, load_search_space
from evoprune.networks.device import make_compute
from evoprune.data.tensors import Data, load_data
from evoprune.pruning.importance.criteria import layer_importance
from evoprune.pruning.importance.magnitude import WEIGHT_CRITERIA, scored_layers, weight_scores
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.space.ranking import ranks
from evoprune.space.space import SearchSpace


def filters(network: torch.nn.Module, name: str) -> np.ndarray:
    return network.get_submodule(name).weight.detach().numpy().astype(np.float64)


def without_norm(space: SearchSpace, name: str) -> SearchSpace:
    """The space with one layer that no batch norm follows."""
    return replace(
        space, layers=tuple(replace(layer, norm=None) if layer.name == name else layer for layer in space.layers)
    )


def by_loops(weight: np.ndarray) -> np.ndarray:
    """Sum of the Euclidean distances of each filter to all others."""
    return np.array([sum(np.sqrt(((one - other) ** 2).sum()) for other in weight) for one in weight])


HAND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda weight: np.abs(weight).sum(axis=(1, 2, 3)),
    "l2": lambda weight: np.sqrt((weight**2).sum(axis=(1, 2, 3))),
    "geometric_median": by_loops,
}


# --- from weights


@pytest.mark.parametrize("criterion", list(HAND))
def test_scores_of_filters_by_hand(small_space, small_parent, criterion):
    scores = weight_scores(small_space, small_parent, criterion)
    assert list(scores) == [layer.name for layer in scored_layers(small_space)]
    for name, values in scores.items():
        assert values.dtype == np.float64
        assert values == pytest.approx(HAND[criterion](filters(small_parent, name)))


def test_scale_of_the_norm_that_follows(small_space, small_parent):
    small_parent.get_submodule("layer2.1.bn1").weight.data.neg_()
    scores = weight_scores(small_space, small_parent, "bn_scale")
    norms = {layer.name: layer.norm for layer in small_space.layers}
    for name, values in scores.items():
        assert values == pytest.approx(np.abs(filters(small_parent, norms[name])))


def test_a_layer_without_a_norm_has_no_scale(small_space, small_parent):
    scores = weight_scores(without_norm(small_space, "layer1.1.conv2"), small_parent, "bn_scale")
    assert {layer.name for layer in scored_layers(small_space)} - set(scores) == {"layer1.1.conv2"}


def test_adapters_and_the_classifier_have_no_scores(small_space):
    names = {layer.name for layer in scored_layers(small_space)}
    assert {layer.name for layer in small_space.layers} - names == {"layer1.0.shortcut", "linear"}


@pytest.mark.parametrize("criterion", list(WEIGHT_CRITERIA))
def test_scores_from_weights_leave_the_network_alone(small_space, small_parent, criterion):
    before = deepcopy(small_parent.state_dict())
    weight_scores(small_space, small_parent, criterion)
    assert all(torch.equal(value, before[name]) for name, value in small_parent.state_dict().items())


# --- from gradients


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
def test_taylor_is_the_squared_slope_of_the_loss_by_each_channel(small_space, small_parent, digits, normless):
    """Mean over batches of 128 images, of the squared derivative by a factor on what the channel gives out."""
    space = small_space if normless is None else without_norm(small_space, normless)
    scores = taylor_scores(space, small_parent, digits, 200, make_compute("cpu", "fp32"))
    split, double = digits.train.evenly(200), deepcopy(small_parent).double()
    inputs = digits.normalise(split.images)
    for layer in (one for one in scored_layers(space) if one.name in ("conv1", "layer1.1.conv2", "layer3.2.conv1")):
        for channel in range(3):
            slopes = [
                slope(double, layer.norm or layer.name, channel, inputs[part], split.labels[part])
                for part in (slice(0, 128), slice(128, 200))
            ]
            assert scores[layer.name][channel] == pytest.approx(np.mean(np.square(slopes)), rel=2e-3, abs=1e-9)


def test_taylor_leaves_the_network_alone(small_space, small_parent, digits):
    small_parent.linear.weight.requires_grad_(False)
    small_parent.conv1.weight.grad = torch.ones_like(small_parent.conv1.weight)
    before = deepcopy(small_parent.state_dict())
    needed = {name: parameter.requires_grad for name, parameter in small_parent.named_parameters()}
    taylor_scores(small_space, small_parent, digits, 100, make_compute("cpu", "fp32"))
    assert all(torch.equal(value, before[name]) for name, value in small_parent.state_dict().items())
    assert {name: parameter.requires_grad for name, parameter in small_parent.named_parameters()} == needed
    assert {name for name, parameter in small_parent.named_parameters() if parameter.grad is not None} == {
        "conv1.weight"
    }
    assert (small_parent.conv1.weight.grad == 1).all() and not small_parent.training


@pytest.mark.parametrize("criterion", [*WEIGHT_CRITERIA, "taylor"])
def test_the_experiment_says_which_criterion(make_experiment, small_space, small_parent, digits, criterion):
    experiment = make_experiment(importance={"criterion": criterion, "images": 50})
    compute = make_compute("cpu", "fp32")
    found = layer_importance("magnitude", experiment, small_space, small_parent, digits, compute)
    if criterion == "taylor":
        wanted = taylor_scores(small_space, small_parent, digits, 50, compute)
    else:
        wanted = weight_scores(small_space, small_parent, criterion)
    assert found.facts == {"criterion": criterion}
    assert all((found.scores[name] == values).all() for name, values in wanted.items())


# --- from layers to bits


def test_a_segment_has_the_mean_of_its_scaled_layers(small_space):
    rng = np.random.default_rng(0)
    widths = {segment.name: segment.width for segment in small_space.segments}
    scores = {layer.name: 100 * rng.random(widths[layer.outputs]) for layer in scored_layers(small_space)}
    bits = {segment.name: segment_scores(small_space, scores)[segment.slice] for segment in small_space.segments}
    scaled = {name: values / values.mean() for name, values in scores.items()}
    assert bits["layer2.1.middle"] == pytest.approx(scaled["layer2.1.conv1"])
    third = ("layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2", "layer3.2.conv2")
    assert bits["layer3.final"] == pytest.approx(sum(scaled[name] for name in third) / 4)
    first = ("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2")
    assert bits["layer1.final"] == pytest.approx(sum(scaled[name] for name in first) / 4)
    assert (bits["stem"] == bits["layer1.final"]).all(), "an adapter ties them"


def test_layers_without_scores_do_not_count_and_zeros_stay_zeros(small_space):
    widths = {segment.name: segment.width for segment in small_space.segments}
    scores = {layer.name: np.zeros(widths[layer.outputs]) for layer in scored_layers(small_space)}
    scores["layer1.2.conv2"] = np.array([1.0, 2.0, 3.0, 2.0])
    del scores["layer1.0.conv2"], scores["layer1.1.conv2"]
    bits = {segment.name: segment_scores(small_space, scores)[segment.slice] for segment in small_space.segments}
    assert bits["stem"] == pytest.approx([0.25, 0.5, 0.75, 0.5]), "the mean with the zeros of conv1"
    assert (bits["layer3.final"] == 0).all()


def test_a_segment_of_which_no_layer_has_scores_is_a_users_mistake(tmp_path):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "nine.yaml"))
    with pytest.raises(UserError, match=r"second.*bn_scale"):
        segment_scores(space, {"conv1": np.ones(2)})


def test_ranks_by_hand(small_space):
    scores = np.arange(small_space.length, dtype=float)
    scores[:4] = [0.5, -1.0, 0.5, 7.0]
    scores[4:8] = 3.0
    found = ranks(small_space, scores)
    assert found[:4] == pytest.approx([0.5, 0.125, 0.5, 0.875]), "the ties share ranks 2 and 3 of 4"
    assert found[4:8] == pytest.approx([0.5] * 4)
    last = small_space.segments[-1]
    assert found[last.slice] == pytest.approx((np.arange(last.width) + 0.5) / last.width)
