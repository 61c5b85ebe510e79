"""ResNets for CIFAR: names as in the published checkpoints, and blocks that can be written down."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from evoprune import build_network, load_search_space

NUM_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet56": 9}
LEAVES = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


def leaf_names(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, LEAVES)]


def expected_names(num_blocks: int) -> list[str]:
    names = ["conv1", "bn1"]
    for stage in (1, 2, 3):
        for block in range(num_blocks):
            names += [f"layer{stage}.{block}.{leaf}" for leaf in ("conv1", "bn1", "conv2", "bn2")]
            if stage > 1 and block == 0:
                names += [f"layer{stage}.0.shortcut.0", f"layer{stage}.0.shortcut.1"]
    return [*names, "linear"]


@pytest.mark.parametrize("name", NUM_BLOCKS)
def test_modules_are_named_as_in_the_published_checkpoints(name):
    assert leaf_names(build_network(load_search_space(name))) == expected_names(NUM_BLOCKS[name])


@pytest.mark.parametrize("name", NUM_BLOCKS)
def test_number_of_weighted_layers_gives_the_network_its_name(name):
    shortcuts = [leaf for leaf in leaf_names(build_network(load_search_space(name))) if "shortcut" in leaf]
    weighted = [leaf for leaf in expected_names(NUM_BLOCKS[name]) if "bn" not in leaf and leaf not in shortcuts]
    assert f"resnet{len(weighted)}" == name


def test_only_the_classifier_has_a_bias():
    network = build_network(load_search_space("resnet20"))
    assert all(module.bias is None for module in network.modules() if isinstance(module, nn.Conv2d))
    assert network.linear.bias.shape == (10,)


def test_strides_are_two_where_stages_two_and_three_begin():
    modules = build_network(load_search_space("resnet20")).named_modules()
    strided = {name for name, module in modules if isinstance(module, nn.Conv2d) and module.stride == (2, 2)}
    assert strided == {f"layer{stage}.0.{leaf}" for stage in (2, 3) for leaf in ("conv1", "shortcut.0")}


@pytest.mark.parametrize("side", [8, 16, 28, 32, 33])
def test_any_image_size_gives_one_logit_per_class(side):
    network = build_network(load_search_space("resnet20", width=2, num_classes=7, in_channels=2)).eval()
    assert network(torch.zeros(3, 2, side, side)).shape == (3, 7)


def test_a_block_is_conv_bn_relu_conv_bn_add_relu():
    """One pixel and 1x1-like kernels, so that the block's output can be written down."""
    space = load_search_space("resnet20", width=1)
    block = build_network(space).eval().get_submodule("layer1.0")
    with torch.no_grad():
        for conv, value in ((block.conv1, 2.0), (block.conv2, 3.0)):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = value
        block.bn1.bias.fill_(1.0)
        block.bn2.bias.fill_(-4.0)
        inputs = torch.tensor([-5.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
        # x=-5: 3*relu(-9) - 4 - 5 < 0;  x=0: 3*1 - 4 + 0 < 0;  x=1: 3*3 - 4 + 1 = 6
        assert block(inputs).flatten().tolist() == pytest.approx([0.0, 0.0, 6.0], abs=1e-3)


def test_the_classifier_reads_the_mean_over_the_map():
    network = build_network(load_search_space("resnet20", width=1, num_classes=2)).eval()
    seen = {}
    network.layer3.register_forward_hook(lambda module, inputs, output: seen.update(maps=output))
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 16, 16))
        pooled = seen["maps"].numpy().mean(axis=(2, 3))
        wanted = pooled @ network.linear.weight.numpy().T + network.linear.bias.numpy()
    np.testing.assert_allclose(logits.numpy(), wanted, atol=1e-5)


def test_convolutions_start_with_he_initialisation():
    torch.manual_seed(0)
    weight = build_network(load_search_space("resnet20")).get_submodule("layer3.2.conv2").weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)
    assert abs(weight.mean().item()) < 0.002
