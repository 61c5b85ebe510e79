"""Candidates that are trained together: each learns what its slim network learns, alone."""

import time

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from evoprune.common.errors import TrainingError
from evoprune.config import EvaluationConfig
from evoprune.data.tensors import Data
from evoprune.evaluation.accuracy import accuracy, stacked_accuracies
from evoprune.networks.device import CPU
from evoprune.pruning.channels import inherited_changes, slim_network
from evoprune.space.space import Code, SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import TrainingOptions, train
from evoprune.training.stacked_training import StackedSetup, StackedTraining, StackSizes

RECIPE = EvaluationConfig(epochs=1.5, batch_size=32, lr=0.05, warmup_epochs=0.4, label_smoothing=0.1)
SEED = 7

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def base(small_base: nn.Module) -> nn.Module:
    return small_base.double()


def make_stacked(space, base, data, size: int) -> StackedTraining:
    return StackedTraining(StackedSetup(space, base, data, RECIPE, CPU), size)


def changes_of(space, base, codes) -> list[dict[str, Tensor]]:
    return [inherited_changes(space, base, code) for code in codes]


def trained(space, base, data, codes, epochs: float = RECIPE.epochs) -> StackedTraining:
    stacked = make_stacked(space, base, data, len(codes))
    stacked.load(codes, changes_of(space, base, codes))
    recalibrate(stacked.network, data, 120, CPU, SEED)
    assert stacked.train(epochs, SEED) == [True] * len(codes)
    return stacked


def trained_alone(space, base, data, code) -> nn.Module:
    network = slim_network(space, base, code)
    recalibrate(network, data, 120, CPU, SEED)
    for _ in train(network, data, RECIPE, CPU, TrainingOptions(SEED)):
        pass
    return network


def scores_of(stacked: StackedTraining, data: Data) -> list[float | None]:
    return stacked_accuracies(stacked.network, data, data.validation)


def unstack(stacked: StackedTraining, space: SearchSpace, index: int) -> dict[str, Tensor]:
    """Full-width weights and statistics of one candidate, by the names of its slim network."""
    state = stacked.network.network.state_dict()
    return {
        name: value if value.dim() == 0 else value.unflatten(0, (stacked.size, -1))[index]
        for name, value in state.items()
        if not name.endswith((".selection", ".trained"))
    }


def assert_same_network(stacked: StackedTraining, index: int, slim: nn.Module, space: SearchSpace, code: Code) -> None:
    """Kept channels of candidate `index` are those of `slim`; pruned ones are 0."""
    kept = {name: torch.from_numpy(channels) for name, channels in space.kept(code).items()}
    whole, wanted = unstack(stacked, space, index), slim.state_dict()
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


def test_recalibration_gives_each_candidate_its_own_statistics(small_space, base, exact_data, mixed_codes):
    stacked = make_stacked(small_space, base, exact_data, len(mixed_codes))
    stacked.load(mixed_codes, changes_of(small_space, base, mixed_codes))
    recalibrate(stacked.network, exact_data, 120, CPU, SEED)
    scores = scores_of(stacked, exact_data)
    for index, code in enumerate(mixed_codes):
        slim = slim_network(small_space, base, code)
        recalibrate(slim, exact_data, 120, CPU, SEED)
        assert_same_network(stacked, index, slim, small_space, code)
        assert scores[index] == accuracy(slim, exact_data, exact_data.validation, CPU)
    assert len(set(scores)) > 1


@pytest.mark.parametrize("size", [1, 6])
def test_each_candidate_learns_what_its_slim_network_learns(small_space, base, exact_data, mixed_codes, size):
    stacked = trained(small_space, base, exact_data, mixed_codes[:size])
    before = make_stacked(small_space, base, exact_data, size)
    before.load(mixed_codes[:size], changes_of(small_space, base, mixed_codes[:size]))
    scores = scores_of(stacked, exact_data)
    for index, code in enumerate(mixed_codes[:size]):
        slim = trained_alone(small_space, base, exact_data, code)
        assert_same_network(stacked, index, slim, small_space, code)
        assert scores[index] == accuracy(slim, exact_data, exact_data.validation, CPU)
        start = unstack(before, small_space, index)["linear.weight"]
        assert not torch.allclose(unstack(stacked, small_space, index)["linear.weight"], start, atol=1e-3)


def test_a_candidate_that_fails_leaves_its_neighbours_bit_by_bit(small_space, base, exact_data, mixed_codes):
    healthy = trained(small_space, base, exact_data, mixed_codes[:3])
    stacked = make_stacked(small_space, base, exact_data, 3)
    stacked.load(mixed_codes[:3], changes_of(small_space, base, mixed_codes[:3]))
    recalibrate(stacked.network, exact_data, 120, CPU, SEED)
    with torch.no_grad():
        unstack(stacked, small_space, 1)["layer1.1.conv1.weight"].fill_(float("inf"))
    assert stacked.train(RECIPE.epochs, SEED) == [True, False, True]
    for index in (0, 2):
        mine, other = (unstack(one, small_space, index) for one in (stacked, healthy))
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    first, broken, last = scores_of(stacked, exact_data)
    assert broken is None
    assert [first, last] == scores_of(healthy, exact_data)[::2]


def test_the_next_candidates_find_nothing_of_the_last(small_space, base, exact_data, mixed_codes):
    stacked = trained(small_space, base, exact_data, mixed_codes[:3])
    with torch.no_grad():
        for value in stacked.network.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 1)
    stacked.load(mixed_codes[3:], changes_of(small_space, base, mixed_codes[3:]))
    recalibrate(stacked.network, exact_data, 120, CPU, SEED)
    stacked.train(RECIPE.epochs, SEED)
    fresh = trained(small_space, base, exact_data, mixed_codes[3:]).network.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in stacked.network.state_dict().items())


def test_a_pruned_channel_of_the_base_network_may_hold_anything(small_space, base, exact_data, mixed_codes):
    code = small_space.full_code()
    code[small_space.segments[0].start] = 0
    wanted = trained(small_space, base, exact_data, [code]).network.state_dict()
    with torch.no_grad():
        base.get_submodule("layer1.0.conv1").weight[0] = float("inf")
        base.get_submodule("layer1.0.bn1").running_var[0] = float("nan")
    found = trained(small_space, base, exact_data, [code]).network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_fewer_codes_than_places_are_filled_up(small_space, base, exact_data, mixed_codes):
    stacked = make_stacked(small_space, base, exact_data, 3)
    stacked.load(mixed_codes[:2], changes_of(small_space, base, mixed_codes[:2]))
    with torch.no_grad():
        logits = stacked.network.eval()(exact_data.normalise(exact_data.validation.images))
    assert torch.equal(logits[:, 1], logits[:, 2]) and not torch.equal(logits[:, 0], logits[:, 1])
    alone = [
        accuracy(slim_network(small_space, base, code), exact_data, exact_data.validation, CPU)
        for code in mixed_codes[:2]
    ]
    assert scores_of(stacked, exact_data) == [*alone, alone[1]]
    assert stacked.train(0.2, SEED) == [True, True]


def test_a_deadline_ends_the_training_of_all(small_space, base, exact_data, mixed_codes):
    stacked = make_stacked(small_space, base, exact_data, 2)
    stacked.load(mixed_codes[:2], changes_of(small_space, base, mixed_codes[:2]))
    with pytest.raises(TrainingError, match="time limit"):
        stacked.train(1.0, SEED, deadline=time.monotonic() - 1)


def test_the_base_network_stays_as_it_is(small_space, base, exact_data, mixed_codes):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    trained(small_space, base, exact_data, mixed_codes[:2], epochs=0.4)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert not base.training


def test_a_step_asks_the_device_for_no_value(small_space, base, exact_data, mixed_codes):
    """A CUDA graph cannot hold a step that does. On tensors without values, asking for one is an error."""
    stacked = make_stacked(small_space, base, exact_data, 2)
    stacked.load(mixed_codes[:2], changes_of(small_space, base, mixed_codes[:2]))
    stacked.train(0.2, SEED)
    step = stacked._step
    assert step is not None
    with FakeTensorMode() as fake, pytest.MonkeyPatch.context() as patch:

        def without_values(tensor: Tensor) -> Tensor:
            return fake.from_tensor(tensor)

        for module in stacked.network.modules():
            module._parameters = {n: p if p is None else without_values(p) for n, p in module._parameters.items()}
            module._buffers = {n: without_values(b) for n, b in module._buffers.items()}
        for name in ("_images", "_labels", "_minus_lr", "losses"):
            patch.setattr(step, name, without_values(getattr(step, name)))
        patch.setattr(step, "_parameters", list(stacked.network.parameters()))
        patch.setattr(step, "_momenta", [without_values(momentum) for momentum in step._momenta])
        stacked.network.train()
        step._compute_step()
        with pytest.raises(RuntimeError, match="_local_scalar_dense"):
            float(step.losses[0])


def test_one_stack_serves_all_that_fill_more_than_half_of_it(small_space, base, exact_data):
    sizes = StackSizes(StackedSetup(small_space, base, exact_data, RECIPE, CPU), limit=8)
    stacks = [sizes.of(number) for number in (8, 5, 7, 4, 3, 2, 8)]
    assert [stack.size for stack in stacks] == [8, 8, 8, 4, 4, 2, 8]
    assert [stacks[0] is stack for stack in stacks] == [True, True, True, False, False, False, False]
    assert stacks[3] is stacks[4]


def test_what_does_not_fit_is_halved_down_to_one(small_space, base, exact_data):
    sizes = StackSizes(StackedSetup(small_space, base, exact_data, RECIPE, CPU), limit=5)
    first = sizes.of(3)
    for number, limit in ((5, 2), (2, 1), (1, 1)):
        sizes.halve(number)
        assert sizes.limit == limit
    assert sizes.of(3) is not first, "one that did not fit is let go"
