"""Stems: what is thrown away before the second convolution, and images of other channels."""

import pytest
import torch
from torch import nn
from torchvision import models

from evoprune import UserError
from evoprune.networks.stem import fit_channels, fit_small_images


def areas(network: nn.Module, size: int) -> list[int]:
    """Side of the map that each of the first convolutions writes."""
    found: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: found.append(output.shape[-1]))
    network.eval()(torch.zeros(1, 3, size, size))
    return found


def test_the_cifar_stem_of_a_resnet_keeps_all_pixels():
    network = models.resnet18(num_classes=10)
    assert areas(models.resnet18(num_classes=10), 32)[:2] == [16, 8]
    fit_small_images(network)
    assert areas(network, 32)[:2] == [32, 32]
    assert network.conv1.weight.shape == (64, 3, 3, 3) and isinstance(network.maxpool, nn.Identity)


def test_the_cifar_stem_of_mobilenet_v2_has_stride_one():
    network = models.mobilenet_v2(num_classes=10)
    fit_small_images(network)
    assert areas(network, 32)[:2] == [32, 32]


def test_the_cifar_stem_of_vgg_pools_to_one_pixel_and_keeps_its_pools():
    network = models.vgg11_bn(num_classes=10)
    fit_small_images(network)
    assert areas(network, 32) == [32, 16, 8, 8, 4, 4, 2, 2]
    assert network.classifier[0].in_features == 512
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_images_of_one_channel():
    network = models.resnet18(num_classes=10)
    fit_channels(network, 1)
    assert network.conv1.weight.shape == (64, 1, 7, 7) and network.conv1.stride == (2, 2)
    kept = network.conv1
    fit_channels(network, 1)
    assert network.conv1 is kept


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UserError, match="no convolution"):
        fit_small_images(nn.Sequential(nn.Linear(3, 3)))
