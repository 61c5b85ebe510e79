"""Candidates that are trained together: each is what its slim network is, alone."""

import time

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from evoprune.networks.device import Compute
from evoprune.config import EvaluationConfig
from evoprune.training.stacked_training import Population
from evoprune.space.space import Code, SearchSpace
from evoprune.pruning.channels import slim_network
from evoprune.common.errors import TrainingError
from evoprune.evaluation.accuracy import accuracy
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import train

CPU = Compute(torch.device("cpu"), bf16=False)
RECIPE = EvaluationConfig(epochs=1.5, batch_size=32, lr=0.05, warmup_epochs=0.4, label_smoothing=0.1)
SEED = 7

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def parent(small_parent: nn.Module) -> nn.Module:
    return small_parent.double()


def make_population(space, parent, data, size: int) -> Population:
    return Population(space, parent, data, RECIPE, CPU, size)


def trained(space, parent, data, codes, epochs: float = RECIPE.epochs) -> Population:
    population = make_population(space, parent, data, len(codes))
    population.load(codes)
    recalibrate(population.network, data, 120, CPU, SEED)
    assert population.train(epochs, SEED) == [True] * len(codes)
    return population


def trained_alone(space, parent, data, code) -> nn.Module:
    network = slim_network(space, parent, code)
    recalibrate(network, data, 120, CPU, SEED)
    for _ in train(network, data, RECIPE, CPU, SEED):
        pass
    return network


def unstack(population: Population, space: SearchSpace, index: int) -> dict[str, Tensor]:
    """Full-width weights and statistics of one candidate, by the names of its slim network."""
    state = population.network.network.state_dict()
    return {
        name: value if value.dim() == 0 else value.unflatten(0, (population.size, -1))[index]
        for name, value in state.items()
        if not name.endswith((".selection", ".trained"))
    }


def assert_same_network(population: Population, index: int, slim: nn.Module, space: SearchSpace, code: Code) -> None:
    """Kept channels of candidate `index` are those of `slim`; cut ones are 0."""
    kept = {name: torch.from_numpy(channels) for name, channels in space.kept(code).items()}
    whole, wanted = unstack(population, space, index), slim.state_dict()
    for layer in space.layers:
        if layer.kind == "adapter" and layer.name not in space.adapters(code):
            continue
        weight = whole[f"{layer.name}.weight"]
        outputs = kept.get(layer.outputs, torch.arange(weight.shape[0]))
        inputs = kept.get(layer.inputs, torch.arange(weight.shape[1]))
        torch.testing.assert_close(weight[outputs][:, inputs], wanted[f"{layer.name}.weight"], rtol=0, atol=1e-9)
        assert weight.count_nonzero() == weight[outputs][:, inputs].count_nonzero()
        if layer.norm is not None:
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = whole[f"{layer.norm}.{name}"][outputs]
                torch.testing.assert_close(value, wanted[f"{layer.norm}.{name}"], rtol=0, atol=1e-9)
    torch.testing.assert_close(whole["linear.bias"], wanted["linear.bias"], rtol=0, atol=1e-9)


def test_each_candidate_computes_what_its_slim_network_computes(small_space, parent, exact_data, mixed_codes):
    population = make_population(small_space, parent, exact_data, len(mixed_codes))
    population.load(mixed_codes)
    images = exact_data.normalise(exact_data.validation.images)
    with torch.no_grad():
        logits = population.network.eval()(images)
        alone = [slim_network(small_space, parent, code)(images) for code in mixed_codes]
    assert logits.shape == (100, len(mixed_codes), 10)
    torch.testing.assert_close(logits, torch.stack(alone, dim=1), rtol=0, atol=1e-12)
    assert len({tuple(part[0].tolist()) for part in alone}) == len(mixed_codes)


def test_recalibration_gives_each_candidate_its_own_statistics(small_space, parent, exact_data, mixed_codes):
    population = make_population(small_space, parent, exact_data, len(mixed_codes))
    population.load(mixed_codes)
    recalibrate(population.network, exact_data, 120, CPU, SEED)
    scores = population.accuracies(exact_data.validation)
    for index, code in enumerate(mixed_codes):
        slim = slim_network(small_space, parent, code)
        recalibrate(slim, exact_data, 120, CPU, SEED)
        assert_same_network(population, index, slim, small_space, code)
        assert scores[index] == accuracy(slim, exact_data, exact_data.validation, CPU)
    assert len(set(scores)) > 1


@pytest.mark.parametrize("size", [1, 6])
def test_each_candidate_learns_what_its_slim_network_learns(small_space, parent, exact_data, mixed_codes, size):
    population = trained(small_space, parent, exact_data, mixed_codes[:size])
    before = make_population(small_space, parent, exact_data, size)
    before.load(mixed_codes[:size])
    scores = population.accuracies(exact_data.validation)
    for index, code in enumerate(mixed_codes[:size]):
        slim = trained_alone(small_space, parent, exact_data, code)
        assert_same_network(population, index, slim, small_space, code)
        assert scores[index] == accuracy(slim, exact_data, exact_data.validation, CPU)
        start = unstack(before, small_space, index)["linear.weight"]
        assert not torch.allclose(unstack(population, small_space, index)["linear.weight"], start, atol=1e-3)


def test_a_candidate_that_fails_leaves_its_neighbours_bit_by_bit(small_space, parent, exact_data, mixed_codes):
    healthy = trained(small_space, parent, exact_data, mixed_codes[:3])
    population = make_population(small_space, parent, exact_data, 3)
    population.load(mixed_codes[:3])
    recalibrate(population.network, exact_data, 120, CPU, SEED)
    with torch.no_grad():
        unstack(population, small_space, 1)["layer1.1.conv1.weight"].fill_(float("inf"))
    assert population.train(RECIPE.epochs, SEED) == [True, False, True]
    for index in (0, 2):
        mine, other = (unstack(one, small_space, index) for one in (population, healthy))
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    first, broken, last = population.accuracies(exact_data.validation)
    assert broken is None
    assert [first, last] == healthy.accuracies(exact_data.validation)[::2]


def test_the_next_population_finds_nothing_of_the_last(small_space, parent, exact_data, mixed_codes):
    population = trained(small_space, parent, exact_data, mixed_codes[:3])
    with torch.no_grad():
        for value in population.network.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 1)
    population.load(mixed_codes[3:])
    recalibrate(population.network, exact_data, 120, CPU, SEED)
    population.train(RECIPE.epochs, SEED)
    fresh = trained(small_space, parent, exact_data, mixed_codes[3:]).network.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in population.network.state_dict().items())


def test_a_cut_channel_of_the_parent_may_hold_anything(small_space, parent, exact_data, mixed_codes):
    code = small_space.full_code()
    code[small_space.segments[0].start] = 0
    wanted = trained(small_space, parent, exact_data, [code]).network.state_dict()
    with torch.no_grad():
        parent.get_submodule("layer1.0.conv1").weight[0] = float("inf")
        parent.get_submodule("layer1.0.bn1").running_var[0] = float("nan")
    found = trained(small_space, parent, exact_data, [code]).network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_fewer_codes_than_places_are_filled_up(small_space, parent, exact_data, mixed_codes):
    population = make_population(small_space, parent, exact_data, 3)
    population.load(mixed_codes[:2])
    with torch.no_grad():
        logits = population.network.eval()(exact_data.normalise(exact_data.validation.images))
    assert torch.equal(logits[:, 1], logits[:, 2]) and not torch.equal(logits[:, 0], logits[:, 1])
    assert population.accuracies(exact_data.validation) == [
        accuracy(slim_network(small_space, parent, code), exact_data, exact_data.validation, CPU)
        for code in mixed_codes[:2]
    ]


def test_a_deadline_ends_the_training_of_all(small_space, parent, exact_data, mixed_codes):
    population = make_population(small_space, parent, exact_data, 2)
    population.load(mixed_codes[:2])
    with pytest.raises(TrainingError, match="time limit"):
        population.train(1.0, SEED, deadline=time.monotonic() - 1)


def test_the_parent_stays_as_it_is(small_space, parent, exact_data, mixed_codes):
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    trained(small_space, parent, exact_data, mixed_codes[:2], epochs=0.4)
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())
    assert not parent.training


def test_a_step_asks_the_device_for_no_value(small_space, parent, exact_data, mixed_codes):
    """A CUDA graph cannot hold a step that does. On tensors without values, asking for one is an error."""
    population = make_population(small_space, parent, exact_data, 2)
    population.load(mixed_codes[:2])
    population.train(0.2, SEED)
    step = population._step
    assert step is not None
    with FakeTensorMode() as fake, pytest.MonkeyPatch.context() as patch:

        def without_values(tensor: Tensor) -> Tensor:
            return fake.from_tensor(tensor)

        for module in population.network.modules():
            module._parameters = {n: p if p is None else without_values(p) for n, p in module._parameters.items()}
            module._buffers = {n: without_values(b) for n, b in module._buffers.items()}
        for name in ("_images", "_labels", "_minus_lr", "losses"):
            patch.setattr(step, name, without_values(getattr(step, name)))
        patch.setattr(step, "_parameters", list(population.network.parameters()))
        patch.setattr(step, "_momenta", [without_values(momentum) for momentum in step._momenta])
        population.network.train()
        step._compute_step()
        with pytest.raises(RuntimeError, match="_local_scalar_dense"):
            float(step.losses[0])
