"""Networks as strangers write them: small, ordinary modules that know nothing of evoprune."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, **keys) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **keys)


class Branches(nn.Module):
    """A depthwise layer, a concatenation, a convolution without a norm."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.norm = conv(in_channels, 8, bias=False), nn.BatchNorm2d(8)
        self.depth, self.other = conv(8, 8, groups=8), conv(8, 6)
        self.join, self.join_norm = conv(14, 12, stride=2), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = torch.cat([F.relu(self.depth(x)), F.relu(self.other(x))], 1)
        x = F.relu(self.join_norm(self.join(x)))
        return self.head(x.mean((2, 3)))


class Pad(nn.Module):
    """A shortcut without parameters (option A)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))


class Padded(nn.Module):
    """A residual block whose shortcut has constant channels, and a flattened map before the classifier."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.norm = conv(in_channels, 4), nn.BatchNorm2d(4)
        self.first, self.second, self.short = conv(4, 6, stride=2), conv(6, 8), Pad()
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.second(F.relu(self.first(x))) + self.short(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Grouped(nn.Module):
    """A convolution in two groups, which must keep equally many channels."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.norm = conv(in_channels, 8), nn.BatchNorm2d(8)
        self.group, self.group_norm = conv(8, 8, groups=2), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        return self.head(F.relu(self.group_norm(self.group(x))).mean((2, 3)))


class FixedWidth(nn.Module):
    """Its forward knows the width of its first layer, as a number that no size in the graph shows."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.free = conv(in_channels, 6), conv(6, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x * (6 / self.stem.out_channels) if self.stem.out_channels != 6 else x
        return self.head(F.relu(self.free(F.relu(x))).mean((2, 3)))


class Asks(nn.Module):
    """Asks a tensor for its value while it learns, so that copies of it cannot run side by side."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.head = conv(in_channels, 4), nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x)).mean((2, 3))
        return self.head(x * 2 if self.training and x.sum().item() > 1e9 else x)


class Scaled(nn.Module):
    """Its state leaves out two buffers: one follows channels, one is expanded, so that nothing can be copied into."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.head = conv(in_channels, 6), nn.Linear(6, num_classes)
        self.register_buffer("scale", torch.linspace(0.5, 2, 6).view(6, 1, 1), persistent=False)
        self.register_buffer("shift", torch.ones(1).expand(num_classes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.stem(x) * self.scale).mean((2, 3))) + self.shift


class Shared(nn.Module):
    """One linear layer under two names."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        self.stem, self.hidden, self.head = conv(in_channels, 6), nn.Linear(6, 6), nn.Linear(6, num_classes)
        self.layers = nn.Sequential(self.hidden, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.layers(F.relu(self.stem(x)).mean((2, 3)))))


class Attention(nn.Module):
    """Attention over the pixels of a map, between layers with weights."""

    def __init__(self):
        super().__init__()
        self.first, self.query, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(2).mT
        x = torch.softmax(self.query(x) @ x.mT, 2) @ x
        heads = x[:, None]
        return self.last(F.scaled_dot_product_attention(heads, heads, heads).mean((1, 2)))


STRANGERS = {"branches": Branches, "padded": Padded, "grouped": Grouped}


def make_branches(num_classes: int, in_channels: int, width: int = 0) -> nn.Module:
    """What a user's file has."""
    return Branches(num_classes, in_channels)


def make_asks(num_classes: int, in_channels: int) -> nn.Module:
    """Likewise."""
    return Asks(num_classes, in_channels)


def make_scaled(num_classes: int, in_channels: int) -> nn.Module:
    """Likewise."""
    return Scaled(num_classes, in_channels)


def make_shared(num_classes: int, in_channels: int) -> nn.Module:
    """Likewise."""
    return Shared(num_classes, in_channels)
