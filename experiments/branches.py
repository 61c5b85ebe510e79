"""A small CNN as a user has it: depthwise layers, branches that are concatenated, residual connections."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """A convolution and its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
        )


class Block(nn.Module):
    """A depthwise and a plain branch, concatenated and mixed; added to the input where the shapes allow it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        half = out_channels // 2
        self.expand = ConvNorm(in_channels, 2 * half, 1)
        self.depthwise = ConvNorm(2 * half, 2 * half, 3, stride, groups=2 * half)
        self.plain = ConvNorm(in_channels, half, 3, stride)
        self.mix = ConvNorm(3 * half, out_channels, 1)
        self.same = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps of shape (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        left = F.relu(self.depthwise(F.relu(self.expand(x))))
        right = F.relu(self.plain(x))
        y = self.mix(torch.cat([left, right], dim=1))
        if self.same:
            y += x
        return F.relu(y)


class Branches(nn.Module):
    """Three stages of blocks, and a linear classifier."""

    def __init__(self, num_classes: int, in_channels: int, width: int = 24):
        super().__init__()
        self.stem = ConvNorm(in_channels, width, 3, 2)
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        strides = [1, 2, 1, 2, 1]
        self.blocks = nn.Sequential(*(Block(a, b, s) for a, b, s in zip(widths, widths[1:], strides, strict=False)))
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        return self.classifier(self.blocks(F.relu(self.stem(images))).mean((2, 3)))


def make_net(num_classes: int, in_channels: int) -> nn.Module:
    """What `network.source` names; evoprune gives the classes and the channels of the images."""
    return Branches(num_classes, in_channels)
