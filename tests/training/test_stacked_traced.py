"""Candidates of any traced network that train together: each learns what its slim network learns, alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from strangers import STRANGERS, Asks
from torch import Tensor, nn
from torchvision import models

from evoprune.config import EvaluationConfig
from evoprune.data.tensors import Data
from evoprune.evaluation.accuracy import accuracy, stacked_accuracies
from evoprune.networks.device import CPU
from evoprune.networks.traced import trace_search_space
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.space.space import Code
from evoprune.space.traced import TracedSpace
from evoprune.tracing.surgery import masks_of, narrow
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.stacked_traced import StackedTraced, stacking_fault
from evoprune.training.stacked_training import StackedSetup, StackedTraining

RECIPE = EvaluationConfig(epochs=1.4, batch_size=32, lr=0.05, warmup_epochs=0.4, label_smoothing=0.1)
SEED = 7

pytestmark = pytest.mark.usefixtures("float64")


class Excited(nn.Module):
    """A gate whose hidden channels are not 0 where nothing comes in."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.inside, self.gate, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 10)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 0.5))
        self.unused, self.frozen = nn.Linear(2, 2), nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x))) * self.scale * self.frozen
        gate = torch.sigmoid(self.gate(torch.sigmoid(self.inside(x.mean((2, 3), keepdim=True)))))
        return self.head((x * gate).mean((2, 3)))


def torchvision(name: str) -> nn.Module:
    network = models.get_model(name, weights=None, num_classes=10, dropout=0.0)
    network.features[0][0] = nn.Conv2d(1, network.features[0][0].out_channels, 3, padding=1, bias=False)
    return network


def shuffle() -> nn.Module:
    network = models.shufflenet_v2_x0_5(num_classes=10)
    network.conv1[0] = nn.Conv2d(1, 24, 3, padding=1, bias=False)
    return network


NETWORKS = {
    **{name: lambda make=make: make(in_channels=1) for name, make in STRANGERS.items()},
    "excited": Excited,
    "mobilenet_v3_small": lambda: torchvision("mobilenet_v3_small"),
    "shufflenet": shuffle,
}


EPOCHS = {"mobilenet_v3_small": 0.4, "shufflenet": 0.4}  # rounding grows a hundredfold with each step of deep networks


def traced(name: str) -> tuple[TracedSpace, nn.Module]:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    return trace_search_space(network, torch.zeros(2, 1, 8, 8)), network.eval()


def codes_of(space: TracedSpace) -> list[Code]:
    rng = np.random.default_rng(0)
    drawn = [space.repair(rng.random(space.length) < share) for share in (0.3, 0.8)]
    return [drawn[0], space.full_code(), drawn[1]]


def stacked_of(space, base, data, codes, size: int | None = None) -> StackedTraining:
    stacked = StackedTraining(StackedSetup(space, base, data, RECIPE, CPU), size or len(codes))
    stacked.load(codes, [inherited_changes(space, base, code) for code in codes])
    return stacked


def one_of(stacked: StackedTraining, base: nn.Module, index: int) -> nn.Module:
    """A candidate of a stack as a network of full width."""
    state = stacked.network.network.state_dict()
    whole = copy.deepcopy(base)
    own = {
        name: value[index] if value.dim() > whole.state_dict()[name].dim() else value for name, value in state.items()
    }
    whole.load_state_dict(own)
    return whole


@pytest.mark.parametrize("name", NETWORKS)
def test_each_candidate_learns_what_its_slim_network_learns(name, exact_data: Data):
    space, base = traced(name)
    codes = codes_of(space)
    stacked = stacked_of(space, base, exact_data, codes)
    recalibrate(stacked.network, exact_data, 120, CPU, SEED)
    epochs = EPOCHS.get(name, RECIPE.epochs)
    assert stacked.train(epochs, SEED) == [True] * 3
    scores = stacked_accuracies(stacked.network, exact_data, exact_data.validation)
    for index, code in enumerate(codes):
        slim = slim_network(space, base, code)
        recalibrate(slim, exact_data, 120, CPU, SEED)
        for _ in train(slim, exact_data, RECIPE.model_copy(update={"epochs": epochs}), CPU, TrainingOptions(SEED)):
            pass
        found = narrow(space.table, one_of(stacked, base, index), code).state_dict()
        for key, wanted in slim.state_dict().items():
            if not key.startswith("unused"):  # nobody sees what weight decay does to it
                torch.testing.assert_close(
                    found[key], wanted, rtol=1e-6, atol=1e-8, msg=lambda said, key=key: f"{key}: {said}"
                )
        assert scores[index] == accuracy(slim, exact_data, exact_data.validation, CPU)
        start = narrow(space.table, base, code).state_dict()
        assert all(
            not torch.allclose(found[key], start[key])
            for key in start
            if key.endswith("weight") and key[:6] != "unused"
        )


def test_what_is_pruned_stays_zero_where_zero_is_not_what_comes_out(exact_data):
    """The hidden channels of a gate are 0.5 where nothing comes in, so that their readers have a gradient."""
    space, base = traced("excited")
    code = codes_of(space)[0]
    stacked = stacked_of(space, base, exact_data, [code])
    stacked.train(1.0, SEED)
    whole = one_of(stacked, base, 0)
    again = narrow(space.table, whole, code)
    images = exact_data.normalise(exact_data.validation.images)
    with torch.no_grad():
        torch.testing.assert_close(stacked.network(images)[:, 0], again(images), rtol=0, atol=1e-9)


def test_the_next_candidates_find_nothing_of_the_last(exact_data):
    space, base = traced("branches")
    first, second, third = codes_of(space)
    stacked = stacked_of(space, base, exact_data, [first, second])
    with torch.no_grad():
        for value in stacked.network.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 1)
    stacked.load([third], [{}])
    recalibrate(stacked.network, exact_data, 120, CPU, SEED)
    assert stacked.train(RECIPE.epochs, SEED) == [True]
    fresh = stacked_of(space, base, exact_data, [third], size=2)
    recalibrate(fresh.network, exact_data, 120, CPU, SEED)
    fresh.train(RECIPE.epochs, SEED)
    wanted = fresh.network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in stacked.network.state_dict().items())


def test_pruned_weights_may_be_infinite_and_changes_are_taken(exact_data):
    space, base = traced("grouped")
    code = codes_of(space)[0]
    masks = masks_of(space.table, base, code)
    name, mask = next((name, mask) for name, mask in masks.items() if not mask.all())
    changed = base.state_dict()[name].clone() + 1
    stacked = stacked_of(space, base, exact_data, [code])
    changed[~mask] = float("inf")
    stacked.load([code], [{name: changed}])
    found = one_of(stacked, base, 0).state_dict()[name]
    assert torch.equal(found[mask], changed[mask]) and bool((found[~mask] == 0).all())


def test_a_network_that_cannot_be_stacked_says_why():
    torch.manual_seed(0)
    network = Asks(in_channels=1).eval()
    space = trace_search_space(network, torch.zeros(2, 1, 8, 8))
    assert "item" in (stacking_fault(space, network) or "")
    fine, other = traced("branches")
    assert stacking_fault(fine, other) is None
    assert not other.training and all(parameter.grad is None for parameter in other.parameters())


def test_a_stack_is_a_stack(exact_data):
    space, base = traced("branches")
    stacked = stacked_of(space, base, exact_data, codes_of(space))
    assert isinstance(stacked.network, StackedTraced)
    assert stacked.network(exact_data.normalise(exact_data.validation.images)).shape == (100, 3, 10)
