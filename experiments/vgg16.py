"""VGG-16 with batch norm for small images, at half the width: 13 convolutions, two hidden linear layers."""

import torch
from torch import Tensor, nn

_PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


class Vgg16(nn.Module):
    """Simonyan and Zisserman 2015, configuration D, with the small classifier that networks for CIFAR have."""

    def __init__(self, num_classes: int, in_channels: int, width: float):
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for step in _PLAN:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2))
                continue
            wide = int(step * width)
            layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
            channels = wide
        self.features = nn.Sequential(*layers)
        hidden = [nn.Linear(channels, channels), nn.ReLU(), nn.Dropout(), nn.Linear(channels, channels), nn.ReLU()]
        self.classifier = nn.Sequential(*hidden, nn.Dropout(), nn.Linear(channels, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images of 32 pixels."""
        return self.classifier(torch.flatten(self.features(images), 1))


def make_net(num_classes: int, in_channels: int) -> nn.Module:
    """What `network.source` names; evoprune gives the classes and the channels of the images."""
    return Vgg16(num_classes, in_channels, width=0.5)
