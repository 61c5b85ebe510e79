"""Zeros that survive training, and sparsity that rises while it goes on."""

from itertools import pairwise

import pytest
import torch
from helpers import few_digits
from torch import nn

from evoprune import build_network
from evoprune.config import TrainingConfig
from evoprune.networks.device import CPU
from evoprune.pruning.weights.hooks import KeptZero, Rising
from evoprune.pruning.weights.layers import output_layers, weight_layers
from evoprune.pruning.weights.masks import apply_masks, smallest_out, sparsity
from evoprune.pruning.weights.sparsities import Group
from evoprune.training.loop import TrainingOptions, train

RECIPE = TrainingConfig(epochs=2.0, batch_size=32, lr=0.1)


@pytest.fixture
def network(small_space) -> nn.Module:
    torch.manual_seed(0)
    return build_network(small_space)


def groups_of(network: nn.Module, ratio: float) -> list[Group]:
    spared = output_layers(network, torch.zeros(1, 1, 8, 8))
    return [Group(tuple(layer.parameter for layer in weight_layers(network) if layer.name not in spared), ratio)]


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_zeros_survive_training_with_any_momentum_and_decay(network, momentum, weight_decay):
    masks = smallest_out(network, groups_of(network, 0.6))
    apply_masks(network, masks)
    recipe = RECIPE.model_copy(update={"momentum": momentum, "weight_decay": weight_decay, "lr": 0.01})
    list(train(network, few_digits(160), recipe, CPU, TrainingOptions(after_step=KeptZero(network, masks))))
    for name, mask in masks.items():
        assert not network.get_parameter(name)[~mask].any()
    assert sparsity(masks, list(masks)) == pytest.approx(0.6, abs=1e-3)


def test_masking_gradients_alone_would_not_keep_them(network):
    """So the test above can fail: momentum that a training began with revives weights."""
    masks = smallest_out(network, groups_of(network, 0.6))
    list(train(network, few_digits(160), RECIPE))
    assert any(network.get_parameter(name)[~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("schedule", ["logarithmic", "logarithmic_from_zero", "cubic"])
def test_sparsity_rises_in_nested_steps_to_its_end_and_every_change_is_told(network, schedule):
    told: list[str] = []
    rising = Rising(groups_of(network, 0.8), schedule, changes=4, until=0.8)
    kept, seen = KeptZero(network, {}, rising, told.append), []

    def after_step(progress: float) -> None:
        kept(progress)
        seen.append({name: mask.clone() for name, mask in kept.masks.items()})
        for name, mask in kept.masks.items():
            assert not network.get_parameter(name)[~mask].any()

    list(train(network, few_digits(160), RECIPE, CPU, TrainingOptions(after_step=after_step)))
    for before, after in pairwise(seen):
        assert all((after[name] <= before[name]).all() for name in before)
    shares = [sparsity(masks, list(masks)) for masks in seen]
    wanted = [0.8 * rising.share(step / 10) for step in range(11)]
    assert shares == pytest.approx(wanted, abs=1e-3) and shares[8] == shares[10] == pytest.approx(0.8, abs=1e-3)
    assert len(told) == 5 and "80.0%" in told[-1]


def test_a_training_that_goes_on_ends_as_one_that_was_never_stopped(network, small_space, tmp_path):
    rising = Rising(groups_of(network, 0.8), "cubic", changes=6, until=0.9)
    data, ends = few_digits(160), []
    for stopped in (False, True):
        torch.manual_seed(0)
        trained = build_network(small_space)
        path = tmp_path / f"{stopped}.ckpt"

        def run(trained=trained, path=path):
            kept = KeptZero(trained, {}, rising)
            return kept, train(trained, data, RECIPE, CPU, TrainingOptions(checkpoint=path, after_step=kept))

        if stopped:
            _, epochs = run()
            next(epochs)
            epochs.close()
        kept, epochs = run()
        list(epochs)
        ends.append((trained.state_dict(), kept.masks))
    (first, masks), (second, masks_again) = ends
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(masks[name], masks_again[name]) for name in masks)
