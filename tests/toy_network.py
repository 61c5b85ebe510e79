"""A network whose channels are known to matter or not."""

import torch
from torch import Tensor, nn

from evoprune.data.tensors import Data, TensorSplit
from evoprune.space.groups import Layer, Segment
from evoprune.space.space import SearchSpace


class Toy(nn.Module):
    """A convolution that hands on eight channels, and a classifier that listens to all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.bn(self.conv(images)).mean((2, 3)))


def toy() -> tuple[SearchSpace, nn.Module, Data]:
    """Eight channels for four classes: channel c < 4 is bright in images of class c, the other four are noise."""
    layers = (
        Layer("conv", "conv", "image", "all", stride_in=1, stride_out=1, norm="bn"),
        Layer("linear", "linear", "all", "classes"),
    )
    parameters = {"width": 8, "num_classes": 4, "in_channels": 8, "image_size": 4}
    space = SearchSpace("toy", {}, (Segment("all", 8, 0),), layers, parameters)
    rng = torch.Generator().manual_seed(0)
    network = Toy()
    with torch.no_grad():
        network.conv.weight.copy_(torch.eye(8)[:, :, None, None])
        network.linear.weight[:, :4] = 2 * torch.eye(4)
        network.linear.weight[:, 4:] = torch.randn(4, 4, generator=rng)
        network.linear.bias.zero_()
    labels = torch.arange(1024) % 4
    bright = torch.rand(1024, 8, generator=rng)
    bright[:, :4] = 0.2 * bright[:, :4] + 0.8 * torch.eye(4)[labels]
    images = (255 * bright).to(torch.uint8)[:, :, None, None].expand(-1, -1, 4, 4)
    split = TensorSplit(images.contiguous(memory_format=torch.channels_last), labels)
    data = Data(split, split, torch.full((8, 1, 1), 0.4), torch.full((8, 1, 1), 0.3), crop=0, flip=False, num_classes=4)
    return space, network, data
