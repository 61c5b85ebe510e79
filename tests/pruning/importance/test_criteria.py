"""The importances by their names, and as calls of a library."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import few_digits
from torch import nn

from evoprune import trace_search_space
from evoprune.common.seeds import derive_seed
from evoprune.config import IMPORTANCES as NAMES
from evoprune.config import ImportanceConfig, ScopConfig
from evoprune.data.tensors import Data
from evoprune.networks.device import make_compute
from evoprune.pruning.importance.aggregate import LayerScores, relative, segment_scores
from evoprune.pruning.importance.criteria import IMPORTANCES, channel_importance
from evoprune.pruning.importance.least_squares import activation_scores, least_squares_scores
from evoprune.pruning.importance.magnitude import WEIGHT_CRITERIA, consumer_scores, readers, weight_scores, writers
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import scop_scores
from evoprune.pruning.importance.taylor import taylor_scores
from evoprune.pruning.moments import measure_moments, moment_inputs


@pytest.fixture(scope="module")
def digits() -> Data:
    """320 real training images: 10 steps an epoch at batch size 32."""
    return few_digits(320)


def same(found: LayerScores, wanted: LayerScores) -> bool:
    return list(found) == list(wanted) and all((found[name] == values).all() for name, values in wanted.items())


@pytest.mark.parametrize("criterion", [*WEIGHT_CRITERIA, "taylor"])
def test_the_experiment_says_which_criterion(make_experiment, small_space, small_base, digits, criterion):
    experiment = make_experiment(importance={"criterion": criterion, "images": 50})
    options = ImportanceOptions(experiment.importance, make_compute("cpu", "fp32"))
    found = channel_importance(small_base, digits, small_space, "magnitude", options)
    if criterion == "taylor":
        wanted = taylor_scores(small_space, small_base, digits, 50, options.compute)
    else:
        wanted = weight_scores(small_space, small_base, criterion)
    assert found.facts == {"criterion": criterion}
    assert same(found.outputs, relative(wanted)) and not found.inputs


@pytest.mark.parametrize("known", [False, True])
def test_criteria_of_what_is_read_score_the_readers(small_space, small_base, digits, known):
    """By moments that are given, or measured on training images."""
    moments = measure_moments(small_space, small_base, moment_inputs(digits, 3))
    wanted = {
        "consumer_l2": relative(consumer_scores(small_space, small_base)),
        "activation": relative(activation_scores(small_space, small_base, moments)),
        "least_squares": least_squares_scores(small_space, small_base, moments),
    }
    for criterion, scores in wanted.items():
        options = ImportanceOptions(ImportanceConfig(criterion=criterion), seed=3, moments=moments if known else None)
        found = channel_importance(small_base, digits, small_space, "magnitude", options)
        assert same(found.inputs, scores) and not found.outputs, criterion
    both = channel_importance(
        small_base, digits, small_space, "magnitude", ImportanceOptions(ImportanceConfig(criterion="group_l2"))
    )
    assert same(both.inputs, wanted["consumer_l2"])
    assert same(both.outputs, relative(weight_scores(small_space, small_base, "l2")))


def test_importance_is_a_library_call_that_prints_nothing(small_space, small_base, digits, capfd):
    """A network, data and a search space are all it takes: no experiment, no folder, no YAML."""
    found = channel_importance(small_base, digits, small_space)
    assert found.facts == {"criterion": ImportanceConfig().criterion} and found.warnings == ()
    assert set(found.inputs) == {layer.name for layer in readers(small_space, small_base)}
    scop = channel_importance(small_base, digits, small_space, "scop")
    assert set(scop.outputs) < {layer.name for layer in writers(small_space, small_base)} and len(scop.warnings) == 1
    assert capfd.readouterr() == ("", "")


def test_scop_has_a_seed_of_its_own_that_follows_from_the_seed_it_is_given(small_space, small_base, digits):
    """So that a run's other chances and SCOP's are not the same."""
    options = ImportanceOptions(ImportanceConfig(scop=ScopConfig(epochs=0.3, batch_size=32)), seed=5)
    named = channel_importance(small_base, digits, small_space, "scop", options)
    direct = scop_scores(small_space, small_base, digits, replace(options, seed=derive_seed(5, "scop")))
    other = scop_scores(small_space, small_base, digits, options)
    assert all((named.parts["k"][layer] == values).all() for layer, values in direct.parts["k"].items())
    assert any((named.parts["k"][layer] != values).any() for layer, values in other.parts["k"].items())


class OwnConv(nn.Module):
    """A convolution that is no Conv2d."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight)


@pytest.mark.parametrize("criterion", [*WEIGHT_CRITERIA, "taylor", "consumer_l2", "activation", "least_squares"])
def test_where_no_layer_has_scores_the_parameters_of_each_channel_stand_for_it(digits, criterion):
    """Their norms, by hand; for least squares the share of the squares that goes with all smaller ones."""
    network = nn.Sequential(OwnConv(1, 5), OwnConv(5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    space = trace_search_space(network, digits.normalise(digits.train.images[:2]))
    options = ImportanceOptions(ImportanceConfig(criterion=criterion, images=50))
    found = channel_importance(network, digits, space, "magnitude", options)
    first, second = (network[index].weight.detach().double().square() for index in (0, 1))
    squares = (first.sum((1, 2, 3)) + second.sum((0, 2, 3))).numpy()
    shares = [squares[squares <= one].sum() / squares.sum() for one in squares]
    wanted = shares if criterion == "least_squares" else np.sqrt(squares) / np.sqrt(squares).mean()
    assert segment_scores(space, found)[:5] == pytest.approx(wanted)
    assert "no layer of 0" in found.warnings[-1]


def test_every_importance_that_an_experiment_can_name_is_there():
    assert list(IMPORTANCES) == list(NAMES)
