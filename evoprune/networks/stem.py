"""Networks made for ImageNet, fitted to small images, to other images than RGB, and to their classes."""

from torch import nn

from evoprune.common.errors import UserError

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def fit_channels(network: nn.Module, in_channels: int) -> None:
    """Give the first convolution as many inputs as the images have channels; its weights are new then."""
    name, first = _first_convolution(network)
    if first.in_channels != in_channels:
        network.set_submodule(name, _like(first, in_channels))


def fit_small_images(network: nn.Module) -> None:
    """The CIFAR stem: nothing is thrown away before the second convolution.

    A first convolution of a larger stride than 1, or a larger kernel than 3x3, gets these, and a pooling before the
    second one goes (as He et al. 2016 have it for CIFAR). A classifier that reads a map of several pixels reads their
    mean.

    Raises:
        UserError: a network without convolutions.
    """
    name, first = _first_convolution(network)
    small = min(first.kernel_size[0], 3)
    if first.stride != (1, 1) or small < first.kernel_size[0]:
        new = nn.Conv2d(first.in_channels, first.out_channels, small, padding=small // 2, bias=first.bias is not None)
        network.set_submodule(name, new)
        _drop_first_pools(network)
    _pool_to_one(network)


def _drop_first_pools(network: nn.Module) -> None:
    """No pooling before the second convolution."""
    seen = 0
    for name, module in list(network.named_modules()):
        seen += isinstance(module, nn.Conv2d)
        if seen == 1 and isinstance(module, _POOLS):
            network.set_submodule(name, nn.Identity())


def _pool_to_one(network: nn.Module) -> None:
    """The last adaptive pooling leaves one pixel, and the linear layer behind it reads that."""
    modules = list(network.named_modules())
    for place, (name, pool) in enumerate(modules):
        if isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size not in (1, (1, 1)):
            height, width = pool.output_size if isinstance(pool.output_size, tuple) else (pool.output_size,) * 2
            linear = next(((name, one) for name, one in modules[place:] if isinstance(one, nn.Linear)), None)
            if linear is not None and height and width and linear[1].in_features % (height * width) == 0:
                old = linear[1]
                new = nn.Linear(old.in_features // (height * width), old.out_features, old.bias is not None)
                network.set_submodule(linear[0], new)
                network.set_submodule(name, nn.AdaptiveAvgPool2d(1))


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise UserError(f"{type(network).__name__} has no convolution")


def _like(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
