"""ResNet-20/32/56 for CIFAR (He et al. 2016, section 4.2) with every width as an argument."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from evoprune.networks.fused_layers import conv_norm_relu


class ResNetCifar(nn.Module):
    """Three stages of plain blocks; stages 2 and 3 begin with a stride-2 1x1 convolution + BN shortcut.

    Args:
        blocks: number of blocks of each stage.
        widths: channels by segment: `stem`, `layer{1,2,3}.{block}.middle`, `layer{1,2,3}.final`.
        adapters: `layer1.0.shortcut` where the stem and stage 1 keep different channels, else empty.
        num_classes: outputs.
        in_channels: channels of the image.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Mapping[str, int],
        adapters: Collection[str],
        num_classes: int,
        in_channels: int,
    ):
        super().__init__()
        self.stages = [f"layer{stage}" for stage in range(1, len(blocks) + 1)]
        trunk = widths["stem"]
        self.conv1 = nn.Conv2d(in_channels, trunk, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(trunk)
        for stage, num_blocks in enumerate(blocks, start=1):
            final = widths[f"layer{stage}.final"]
            rows = []
            for index in range(num_blocks):
                name = f"layer{stage}.{index}"
                stride = 2 if stage > 1 and index == 0 else 1
                adapter = f"{name}.shortcut" in adapters
                rows.append(_Block(trunk, widths[f"{name}.middle"], final, stride, adapter))
                trunk = final
            self.add_module(f"layer{stage}", nn.Sequential(*rows))
        self.linear = nn.Linear(trunk, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # there it only takes time
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of normalised images of shape (batch, in_channels, height, width)."""
        x = conv_norm_relu(self.conv1, self.bn1, images)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give a checkpoint with parameter-free (option A) shortcuts the 1x1 shortcuts that compute the same.

        Option A subsamples by 2 and pads a quarter of the new width with zeros on each side. The 1x1 convolution is
        that selection, and its BN changes nothing.
        """
        adapted = dict(state)
        for name, module in self.named_modules():
            if not name.endswith(".shortcut") or not isinstance(module, nn.Sequential):
                continue
            if not any(key.startswith(f"{name}.") for key in state):
                adapted |= {f"{name}.{key}": value for key, value in _option_a(module).items()}
        return adapted


def _option_a(shortcut: nn.Sequential) -> dict[str, Tensor]:
    """State of a 1x1 convolution + BN that computes a parameter-free shortcut; empty where it narrows."""
    conv, norm = shortcut[0], shortcut[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    pad = (conv.out_channels - conv.in_channels) // 2
    if pad < 0:
        return {}
    weight = torch.zeros_like(conv.weight)
    channels = torch.arange(conv.in_channels)
    weight[channels + pad, channels] = 1.0
    ones = torch.ones(norm.num_features)
    return {
        "0.weight": weight,
        "1.weight": ones * (1 + norm.eps) ** 0.5,
        "1.bias": ones * 0,
        "1.running_mean": ones * 0,
        "1.running_var": ones,
        "1.num_batches_tracked": torch.tensor(0),
    }


class _Block(nn.Module):
    def __init__(self, trunk: int, middle: int, final: int, stride: int, adapter: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(trunk, middle, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, final, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(final)
        self.shortcut: nn.Module
        if stride == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(trunk, final, 1, stride=2, bias=False), nn.BatchNorm2d(final))
        elif adapter:
            self.shortcut = nn.Conv2d(trunk, final, 1, bias=False)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = conv_norm_relu(self.conv1, self.bn1, x)
        return conv_norm_relu(self.conv2, self.bn2, out, residual=self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if isinstance(self.shortcut, nn.Sequential):
            conv, norm = self.shortcut
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            return conv_norm_relu(conv, norm, x, relu=False)
        out: Tensor = self.shortcut(x)
        return out
