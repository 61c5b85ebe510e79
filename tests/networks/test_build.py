"""A code becomes a network, and a spec of plain JSON rebuilds it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from evoprune import UserError, build_network, trace_search_space
from evoprune.networks.build import layer_module, network_from_spec, network_spec


def test_a_spec_is_json_that_rebuilds_the_network(small_space):
    code = np.random.default_rng(2).integers(0, 2, small_space.length)
    network = build_network(small_space, code)
    rebuilt = network_from_spec(json.loads(json.dumps(network_spec(small_space, code))))
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (network, rebuilt)]
    assert shapes[0] == shapes[1]
    assert len({id(parameter) for net in (network, rebuilt) for parameter in net.parameters()}) == 2 * len(
        list(network.parameters())
    )


def test_widths_of_a_code_are_widths_of_the_network(small_space):
    code = small_space.full_code()
    code[:4] = [0, 1, 1, 0]  # layer1.0.middle
    block = build_network(small_space, code).get_submodule("layer1.0")
    assert block.conv1.weight.shape == (2, 4, 3, 3)
    assert block.bn1.num_features == 2
    assert block.conv2.weight.shape == (4, 2, 3, 3)


def test_an_unknown_family_is_refused_with_a_suggestion(small_space):
    with pytest.raises(UserError, match=r"'resnet_cifra'.*did you mean 'resnet_cifar'"):
        network_from_spec({**network_spec(small_space), "family": "resnet_cifra"})


@pytest.mark.parametrize("key", ["blocks", "widths", "adapters", "num_classes", "in_channels"])
def test_a_missing_key_of_a_spec_is_named(small_space, key):
    spec = network_spec(small_space)
    del spec[key]
    with pytest.raises(UserError, match=key):
        network_from_spec(spec)


def test_an_unknown_key_and_a_missing_width_are_named(small_space):
    spec = network_spec(small_space)
    with pytest.raises(UserError, match="depth"):
        network_from_spec({**spec, "depth": 20})
    widths = {name: width for name, width in spec["widths"].items() if name != "stem"}
    with pytest.raises(UserError, match="stem"):
        network_from_spec({**spec, "widths": widths})


def test_a_layer_is_found_by_each_of_its_names_and_a_weight_is_no_module():
    network = nn.Module()
    network.one = network.again = nn.Conv2d(1, 1, 1)
    assert layer_module(network, "one") is layer_module(network, "again") is network.one
    assert [layer_module(network, name) for name in ("one.weight", "two", "forward.conv2d_1")] == [None] * 3


def test_a_network_that_was_traced_from_a_module_is_not_built():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    space = trace_search_space(network, torch.zeros(2, 1, 8, 8))
    with pytest.raises(UserError, match=r"sequential was traced from a module.*pass that module to slim_network"):
        build_network(space)
