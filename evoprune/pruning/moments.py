"""What the layers of a network read: means and covariances of their inputs over training images."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from evoprune.common.errors import UserError, reason_of
from evoprune.common.files import write_atomically
from evoprune.data.batches import training_sample
from evoprune.data.tensors import Data
from evoprune.networks.build import layer_module
from evoprune.networks.device import CPU, Compute
from evoprune.space.groups import Layer
from evoprune.space.space import SearchSpace

MOMENT_IMAGES = 1024
_BATCH = 64  # the patches of a layer take up to nine times the memory of its map
MOST_INPUTS = 2304
"""Widest input that is measured, 256 channels of a 3x3 convolution: its covariance takes 21 MB."""


@dataclass(frozen=True)
class InputMoments:
    """First and second moments of what one layer reads.

    A convolution reads a patch of channels x height x width values for each pixel that it writes, a linear layer its
    whole input. The values are in the order of `weight.flatten(1)`.

    Attributes:
        mean: shape (values,).
        covariance: shape (values, values).
    """

    mean: npt.NDArray[np.float32]
    covariance: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Moments:
    """Moments of every layer that reads a segment.

    Attributes:
        layers: by the layer's name.
        left_out: names of the layers that were not measured, and why.
    """

    layers: Mapping[str, InputMoments]
    left_out: Mapping[str, str] = field(default_factory=dict)


@torch.no_grad()
def measure_moments(
    space: SearchSpace, network: nn.Module, inputs: Iterable[Tensor], compute: Compute = CPU
) -> Moments:
    """Measure what the layers of `network` read that follow a segment.

    Args:
        space: the search space of `network`.
        network: on `compute.device`; runs in eval mode, and is left in that of before.
        inputs: batches of what it takes, normalised images of shape (batch, channels, height, width). 512 images do.
        compute: device and precision.
    """
    readers = moment_readers(space)
    left_out = {layer.name: reason for layer in readers if (reason := _cannot_measure(space, network, layer))}
    sums = {layer.name: _Sums() for layer in readers if layer.name not in left_out}
    hooks = [
        network.get_submodule(name).register_forward_hook(total.add, with_kwargs=True) for name, total in sums.items()
    ]
    mode = network.training
    network.eval()
    try:
        for batch in inputs:
            with compute.autocast():
                network(batch)
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    left_out |= {name: reason for name, total in sums.items() if (reason := total.why_useless())}
    return Moments({name: total.moments() for name, total in sums.items() if name not in left_out}, left_out)


def moment_readers(space: SearchSpace) -> list[Layer]:
    """Layers that read channels of a segment, and mix them."""
    return [layer for layer in space.layers if (space.input_bits(layer) >= 0).any() and layer.kind != "depthwise"]


def moment_inputs(data: Data, seed: int) -> Iterator[Tensor]:
    """Batches of normalised, augmented training images, `MOMENT_IMAGES` together, for `measure_moments`."""
    for images in training_sample(data, MOMENT_IMAGES, seed, _BATCH):
        yield data.normalise(images)


def save_moments(moments: Moments, path: Path) -> None:
    """Write moments as a file that `load_moments` reads."""
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for name, layer in moments.layers.items():
        tensors |= {f"{name}.mean": layer.mean, f"{name}.covariance": layer.covariance}
    write_atomically(path, save(tensors, metadata=dict(moments.left_out)))


def load_moments(path: Path) -> Moments:
    """Read what `save_moments` wrote.

    Raises:
        UserError: a file that is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            names = {key.rpartition(".")[0] for key in file.keys()}  # noqa: SIM118  not a mapping
            layers = {
                name: InputMoments(file.get_tensor(f"{name}.mean"), file.get_tensor(f"{name}.covariance"))
                for name in names
            }
            return Moments(layers, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged moments: {reason_of(error)}") from None


def _cannot_measure(space: SearchSpace, network: nn.Module, layer: Layer) -> str | None:
    module = layer_module(network, layer.name)
    if module is None:
        return "no module has its weight"
    if not isinstance(module, nn.Conv2d | nn.Linear | nn.Identity):  # an adapter of the base network is an identity
        return f"a {type(module).__name__}, neither a Conv2d nor a Linear"
    if not isinstance(module, nn.Identity) and "weight" not in module.state_dict():
        return "its weight is computed"
    if isinstance(module, nn.Conv2d) and (module.groups != 1 or module.padding_mode != "zeros"):
        return "a grouped convolution, or one that pads other than with zeros"
    if isinstance(module, nn.Conv2d) and isinstance(module.padding, str):
        return f"a convolution with padding={module.padding!r}"
    positions = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
    values = len(space.input_bits(layer)) * positions
    return f"reads {values} values, more than {MOST_INPUTS}" if values > MOST_INPUTS else None


class _Sums:
    """Count, sum and products of what a module reads, in float64; of a batch in float32.

    They are those of the distance to the first batch's mean: float32 loses the variance of what is nearly constant.
    """

    def __init__(self) -> None:
        self._count, self._is_plain = 0, True
        self._start = torch.zeros(())
        self._sum = self._products = torch.zeros((), dtype=torch.float64)

    def add(self, module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        """A forward hook."""
        x = next(iter((*inputs, *named.values())))
        if self._count == 0:
            self._is_plain = _is_close(output, _plain(module, x))
        values = _patches(module, x.float())
        if self._count == 0:
            self._start = values.mean(0)
        values.sub_(self._start)
        with torch.autocast(values.device.type, enabled=False):
            products = values.T @ values
        self._count += len(values)
        self._sum = self._sum + values.sum(0).double().cpu()
        self._products = self._products + products.double().cpu()

    def why_useless(self) -> str | None:
        """Why these are no moments of what the layer reads, if they are none."""
        if self._count == 0:
            return "its forward was not called"
        return None if self._is_plain else "its forward does more than apply its weight"

    def moments(self) -> InputMoments:
        distance = self._sum / self._count
        covariance = self._products / self._count - torch.outer(distance, distance)
        mean = self._start.double().cpu() + distance
        return InputMoments(mean.float().numpy(), covariance.float().numpy())


def _plain(module: nn.Module, x: Tensor) -> Tensor:
    """What `module` computes if it does nothing but apply its weight."""
    if isinstance(module, nn.Conv2d):
        return F.conv2d(x, module.weight, module.bias, module.stride, module.padding, module.dilation)
    return F.linear(x, module.weight, module.bias) if isinstance(module, nn.Linear) else x


def _is_close(output: Tensor, plain: Tensor) -> bool:
    """Whether two outputs are the same to rounding, in whatever precision."""
    return output.shape == plain.shape and bool((output - plain).abs().max() <= 0.01 * plain.abs().max())


def _patches(module: nn.Module, x: Tensor) -> Tensor:
    """One row for each output of `module`: the values it is computed from, in memory of their own."""
    if isinstance(module, nn.Conv2d):
        assert isinstance(module.padding, tuple)
        columns = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
        return columns.transpose(1, 2).flatten(0, 1)
    if isinstance(module, nn.Linear):  # its channels are the last axis, whatever comes before
        return x.reshape(-1, module.in_features).clone()
    return x.movedim(1, -1).flatten(0, -2).clone()
