"""Compensation: against another library's ridge regression, and where what is pruned can be made up for exactly."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from toy_network import toy

from evoprune import slim_network
from evoprune.pruning.channels import inherited_changes
from evoprune.pruning.compensation import RIDGE, compensate
from evoprune.pruning.moments import Moments, measure_moments
from evoprune.space.groups import Layer, Segment
from evoprune.space.space import SearchSpace


def random_images(count: int = 64) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def moments(small_space: SearchSpace, small_base: nn.Module) -> Moments:
    return measure_moments(small_space, small_base, random_images().split(32))


def outputs_of(network: nn.Module, names: list[str], images: Tensor) -> dict[str, Tensor]:
    """What modules of a network compute."""
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: found.__setitem__(name, output)
        )
        for name in names
    ]
    with torch.no_grad():
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    return found


def test_where_all_is_read_nothing_changes(small_space, small_base, moments):
    code = small_space.full_code()
    assert compensate(small_space, small_base.state_dict(), code, moments) == {}
    slim = slim_network(small_space, small_base, code, moments)
    for name, value in small_base.state_dict().items():
        assert torch.equal(slim.state_dict()[name], value)


def test_only_layers_that_lack_an_input_are_solved(small_space, small_base, moments):
    code = small_space.full_code()
    code[small_space.segment("layer2.1.middle").slice][::2] = 0
    solved = compensate(small_space, small_base.state_dict(), code, moments)
    assert set(solved) == {"layer2.1.conv2.weight", "layer2.1.bn2.running_mean"}


def linear_space(width: int) -> SearchSpace:
    layers = (Layer("0", "linear", "all", "classes"),)
    parameters = {"width": width, "num_classes": 3, "in_channels": 1, "image_size": 1}
    return SearchSpace("linear", {}, (Segment("all", width, 0),), layers, parameters)


def test_a_linear_layer_is_the_ridge_regression_of_another_library():
    """Of what the pruned inputs gave, on the inputs that stay."""
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(6, 3)), torch.randn(500, 6) @ torch.randn(6, 6) + 2
    space, code = linear_space(6), np.array([1, 0, 1, 1, 0, 1], dtype=np.uint8)
    moments = measure_moments(space, network, [inputs])
    solved = compensate(space, network.state_dict(), code, moments)
    kept, weight = code == 1, network[0].weight.detach().double().numpy()
    x = inputs.double().numpy()
    penalty = len(x) * RIDGE * x[:, kept].var(axis=0).mean()
    ridge = Ridge(alpha=penalty).fit(x[:, kept], x[:, ~kept] @ weight[:, ~kept].T)
    np.testing.assert_allclose(solved["0.weight"].numpy()[:, kept] - weight[:, kept], ridge.coef_, rtol=1e-3, atol=1e-4)
    shift = (solved["0.bias"] - network[0].bias.detach()).numpy()
    np.testing.assert_allclose(shift, ridge.intercept_, rtol=1e-3, atol=1e-4)


def test_without_norm_and_bias_the_regression_has_no_intercept():
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(4, 3, bias=False)), torch.randn(400, 4) + 3
    space, code = linear_space(4), np.array([1, 1, 0, 1], dtype=np.uint8)
    solved = compensate(space, network.state_dict(), code, measure_moments(space, network, [inputs]))
    assert set(solved) == {"0.weight"}
    x, weight = inputs.double().numpy(), network[0].weight.detach().double().numpy()
    penalty = len(x) * RIDGE * (x[:, [0, 1, 3]] ** 2).mean()
    ridge = Ridge(alpha=penalty, fit_intercept=False).fit(x[:, [0, 1, 3]], x[:, [2]] @ weight[:, [2]].T)
    np.testing.assert_allclose(solved["0.weight"].numpy()[:, [0, 1, 3]] - weight[:, [0, 1, 3]], ridge.coef_, rtol=1e-3)


def test_a_channel_that_says_what_another_says_is_made_up_for():
    """The classifier's bias and the other channel take over; plain inheritance loses what the channel gave."""
    space, network, data = toy()
    with torch.no_grad():
        network.conv.weight[5] = 2 * network.conv.weight[0]
        network.bn.running_mean[5] = 0.3
    inputs = data.normalise(data.train.images)
    code = space.full_code()
    code[0] = 0
    moments = measure_moments(space, network.eval(), [inputs])
    solved = compensate(space, network.state_dict(), code, moments)
    with torch.no_grad():
        wanted, hidden = network(inputs), network.bn(network.conv(inputs)).mean((2, 3)) * torch.from_numpy(code)
        lost = (network.linear(hidden) - wanted).abs().max()
        left = (nn.functional.linear(hidden, solved["linear.weight"], solved["linear.bias"]) - wanted).abs().max()
    assert left < 0.02 < 1 < lost


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_on_average_every_layer_is_nearer_to_the_base_network_and_its_mean_is_kept(small, data):
    """Given what the base network reads, for any code."""
    space, base, moments, read = small
    bits = data.draw(st.lists(st.integers(0, 1), min_size=space.length, max_size=space.length))
    code = space.repair(np.array(bits, dtype=np.uint8))
    kept, state = space.kept(code), base.state_dict()
    solved = inherited_changes(space, base, code, moments)
    for layer in space.layers:
        if layer.kind == "adapter" or f"{layer.name}.weight" not in solved:
            continue
        wanted = outputs_given(base, layer, state, read[layer.name])
        masked = read[layer.name].clone()
        masked[:, np.setdiff1d(np.arange(masked.shape[1]), kept[layer.inputs])] = 0
        rows = kept.get(layer.outputs, np.arange(wanted.shape[1]))
        plain, better = (
            (outputs_given(base, layer, {**state, **changes}, masked) - wanted)[:, rows] for changes in ({}, solved)
        )
        assert (better**2).mean() <= (plain**2).mean() + 1e-6
        others = tuple(dim for dim in range(better.dim()) if dim != 1)
        assert better.mean(others).abs().max() < 1e-3


@pytest.fixture(scope="module")
def small(small_space: SearchSpace) -> tuple[SearchSpace, nn.Module, Moments, dict[str, Tensor]]:
    """A small base network in eval mode, its moments over some images, and what its layers read of these."""
    from helpers import scramble

    from evoprune import build_network

    torch.manual_seed(0)
    base = scramble(build_network(small_space), seed=0).eval()
    read: dict[str, Tensor] = {}
    names = [layer.name for layer in small_space.layers if layer.inputs != "image"]
    hooks = [
        base.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: read.__setitem__(name, inputs[0])
        )
        for name in names
    ]
    with torch.no_grad():
        base(random_images())
    for hook in hooks:
        hook.remove()
    return small_space, base, measure_moments(small_space, base, [random_images()]), read


def outputs_given(base: nn.Module, layer: Layer, state: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """What a layer of `base` with the weights of `state` computes, less the mean that the norm behind it subtracts."""
    module = base.get_submodule(layer.name)
    own = {name: state[f"{layer.name}.{name}"] for name in module.state_dict()}
    with torch.no_grad():
        out = torch.func.functional_call(module, own, (inputs,))
        return out if layer.norm is None else out - state[f"{layer.norm}.running_mean"][:, None, None]


def test_an_adapter_makes_up_for_the_stem(small_space, small_base, moments):
    """It hands on what it reads; what the stem no longer has, it guesses from what the stem has."""
    code = small_space.full_code()
    code[small_space.segment("stem").slice] = [0, 1, 1, 1]
    plain, solved = (
        slim_network(small_space, small_base, code, given).get_submodule("layer1.0.shortcut").weight[:, :, 0, 0]
        for given in (None, moments)
    )
    assert torch.equal(solved[1:], plain[1:]) and not plain[0].any() and solved[0].abs().max() > 0.01
