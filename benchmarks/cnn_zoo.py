"""The CNNs that the coverage of tracing is measured on: torchvision's, timm's drawn at random, and two for CIFAR."""

import random
from collections.abc import Iterator
from itertools import islice, pairwise, zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

TRANSFORMERS = ("vit", "swin", "maxvit")
"""Beginnings of the names of torchvision's networks that are no CNNs."""

WITHOUT_CONVOLUTIONS = """
    beit cait coat convit crossvit davit deepseek_vit deit efficientvim eva gcvit gemma4_vit hiera hieradet_sam2
    mlp_mixer mvitv2 naflexvit nest pit pvt_v2 qwen3_vit sequencer swin_transformer swin_transformer_v2
    swin_transformer_v2_cr tnt twins vision_transformer vision_transformer_relpos vision_transformer_sam volo xcit
"""
"""Families of timm that are no CNNs."""

HYBRIDS = """
    byoanet cpubone edgenext efficientformer efficientformer_v2 efficientvit_mit efficientvit_msra fastvit iformer levit
    lowformer maxxvit metaformer mobilenetv5 mobilevit nextvit shvit swiftformer tiny_vit visformer
    vision_transformer_hybrid vitamin
"""
"""Families of timm that have convolutions and attention."""

SIZES = (64, 128, 256)
MOST_PARAMETERS = 40_000_000


def torchvision_names() -> list[str]:
    """Torchvision's CNNs for classification."""
    return [name for name in models.list_models(module=models) if not name.startswith(TRANSFORMERS)]


def timm_names(num_convolutional: int, seed: int) -> list[str]:
    """Convolutional networks of timm, in turn from each family, and one of each family of hybrids.

    Of each family the members come in random order. Big ones are left out where there are others.
    """
    import timm

    skipped = {*WITHOUT_CONVOLUTIONS.split(), *HYBRIDS.split()}
    families = [_members(family, seed) for family in timm.list_modules() if family not in skipped]
    drawn = (name for turn in zip_longest(*families) for name in turn if name)
    hybrids = [next(_members(family, seed)) for family in HYBRIDS.split()]
    return [f"timm/{name}" for name in [*islice(drawn, num_convolutional), *hybrids]]


def _members(family: str, seed: int) -> Iterator[str]:
    """Names of a family in random order, without big networks; where all are big, the first of them alone."""
    import timm

    names = timm.list_models(module=family)
    random.Random(f"{seed} {family}").shuffle(names)
    small = (name for name in names if _num_parameters(name) <= MOST_PARAMETERS)
    yield next(small, names[0])
    yield from small


def _num_parameters(name: str) -> int:
    import timm

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(name).parameters())


class PaddedBlock(nn.Module):
    """A residual block whose shortcut leaves out pixels and pads channels with zeros (option A, He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, is_module: bool) -> None:
        super().__init__()
        stride, pad = outputs // inputs, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut, self.is_module = Padding(stride, pad), is_module

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions and what goes around them."""
        around = self.shortcut(x) if self.is_module else self.shortcut.forward(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + around)


class Padding(nn.Module):
    """Every `stride`-th pixel, with `pad` channels of zeros before and after."""

    def __init__(self, stride: int, pad: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, pad

    def forward(self, x: Tensor) -> Tensor:
        """The same image, smaller and with more channels."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))


def padded_resnet(is_module: bool) -> nn.Module:
    """ResNet-20 for CIFAR with shortcuts of option A, which are modules or stand in the blocks' forward."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [PaddedBlock(one, other, is_module) for one, other in pairwise(widths)]
    first = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class PlainBlock(nn.Module):
    """A residual block with a convolution on the shortcut where the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = short if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions and what goes around them."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class PlainResNet(nn.Module):
    """ResNet-20 for CIFAR as a stranger writes it."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(PlainBlock(one, other, other // one) for one, other in pairwise(widths)))
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        return self.linear(self.blocks(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


OPTION_A = {"cifar/resnet20, padding modules": True, "cifar/resnet20, padding in forward": False}


def num_classes(name: str) -> int:
    """How many logits a network has."""
    return 10 if name in OPTION_A else 1000


def make_network(name: str) -> nn.Module:
    """A network with random weights, and batch norms and layer scales that are not trivial; in eval mode."""
    torch.manual_seed(0)
    if name.startswith("timm/"):
        import timm

        network = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    elif name in OPTION_A:
        network = padded_resnet(OPTION_A[name])
    else:
        keys = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        network = models.get_model(name, weights=None, **keys)
    with torch.no_grad():
        for key, value in network.state_dict(keep_vars=True).items():
            leaf = key.rpartition(".")[2]
            if leaf in ("running_var", "layer_scale", "gamma") or (leaf == "weight" and value.dim() == 1):
                value.uniform_(0.5, 1.5)
            elif leaf in ("running_mean", "bias"):
                value.normal_(0, 0.2)
    return network.eval()


def make_images(network: nn.Module) -> Tensor:
    """Two images of the smallest size that the network takes, of those tried; auxiliary classifiers need big ones."""
    config = getattr(network, "pretrained_cfg", {})
    own = config.get("input_size", [299])[-1]
    sizes = (own,) if config.get("fixed_input_size") or getattr(network, "aux_logits", False) else (*SIZES, own)
    for size in sizes:
        images = torch.randn(2, 3, size, size)
        try:
            with torch.no_grad():
                network(images)
            return images
        except (RuntimeError, ValueError, AssertionError):  # whatever a network says when maps get too small
            continue
    raise AssertionError(f"none of the sizes {sizes} is right")
