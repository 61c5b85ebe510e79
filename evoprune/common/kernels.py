"""Loops over images and bfloat16 feature maps, compiled by Numba once per machine. The only module that imports Numba.

torch's batch norm on the CPU reads a channels-last map of few channels one element at a time. Here a map is a matrix
whose rows hold whole pixels, `period` of them, so that a column always belongs to one channel and every loop over a row
is a vector loop, whatever the number of channels. bfloat16 is the upper half of a float32: NumPy does not know it, so
maps come as int16. What there is of a channel is computed here too, in float64: a call from Python costs as much as a
small map.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Map = npt.NDArray[np.int16]
Vector = npt.NDArray[np.float32]
Moments = tuple[Any, Any]
"""Mean and variance of each channel."""
Norm = tuple[Any, Any, float, Vector, Vector]
"""Mean and variance of each channel, eps, weight, bias."""
Scaled = tuple[Any, Any, float, Vector]
"""Mean and variance of each channel, eps, weight."""
_HALF = np.uint32(16)
_ONE = np.uint32(1)
_ROUND = np.uint32(0x7FFF)


def _compiled(function: Any) -> Any:
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for the compiled code can be written: it is compiled in every process
        return njit(nogil=True, error_model="numpy")(function)


@njit(inline="always")
def _float(bits: Any) -> Any:
    return np.uint32(np.uint32(np.uint16(bits)) << _HALF).view(np.float32)


@njit(inline="always")
def _bfloat(value: Any) -> Any:
    """Round to the nearest, ties to even."""
    bits = np.uint32(np.float32(value).view(np.uint32))
    odd = np.uint32(np.uint32(bits >> _HALF) & _ONE)
    return np.int16(np.uint16(np.uint32(np.uint32(bits + _ROUND + odd) >> _HALF)))


@_compiled
def _by_channel(columns: Vector, channels: int) -> Any:
    """Sum of the columns of each channel."""
    sums = np.zeros(channels, dtype=np.float64)
    for column in range(len(columns)):
        sums[column % channels] += columns[column]
    return sums


@_compiled
def _by_column(values: Any, columns: int) -> Any:
    """A value per channel repeated for every pixel of a row."""
    wide = np.empty(columns, dtype=np.float32)
    for column in range(columns):
        wide[column] = values[column % len(values)]
    return wide


@_compiled
def batch_moments(x: Map, channels: int) -> Any:
    """Mean and variance (of the population) of each channel, float64."""
    total = np.zeros(x.shape[1], dtype=np.float32)
    squares = np.zeros(x.shape[1], dtype=np.float32)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = _float(x[row, column])
            total[column] += value
            squares[column] += value * value
    count = x.size // channels
    mean = _by_channel(total, channels) / count
    return mean, np.maximum(_by_channel(squares, channels) / count - mean * mean, 0)


@_compiled
def update_running(running: Moments, moments: Moments, count: int, share: float) -> None:
    """As torch.nn.BatchNorm2d: `share` of the new statistics of `count` values, the variance unbiased.

    `running` and `moments` are mean and variance of each channel.
    """
    running_mean, running_var = running
    mean, var = moments
    for channel in range(len(mean)):
        unbiased = var[channel] * count / max(1, count - 1)
        running_mean[channel] += share * (mean[channel] - running_mean[channel])
        running_var[channel] += share * (unbiased - running_var[channel])


@_compiled
def normalise(x: Map, norm: Norm, residual: Map | None, relu: bool, out: Map) -> None:
    """out = (x - mean) / sqrt(var + eps) * weight + bias (+ residual), not below 0 with `relu`."""
    mean, var, eps, weight, bias = norm
    by_channel = weight / np.sqrt(var + eps)
    scale = _by_column(by_channel, x.shape[1])
    shift = _by_column(bias - mean * by_channel, x.shape[1])
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = scale[column] * _float(x[row, column]) + shift[column]
            if residual is not None:
                value += _float(residual[row, column])
            out[row, column] = _bfloat(max(value, np.float32(0)) if relu else value)


@_compiled
def _gradient_moments(x: Map, out: Map, grad: Map, relu: bool, channels: int) -> Any:
    """Sum by channel of the gradient before ReLU, and of its product with `x`."""
    total = np.zeros(x.shape[1], dtype=np.float32)
    products = np.zeros(x.shape[1], dtype=np.float32)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = _float(grad[row, column])
            if relu and out[row, column] <= 0:
                value = np.float32(0)
            total[column] += value
            products[column] += value * _float(x[row, column])
    return _by_channel(total, channels), _by_channel(products, channels)


@_compiled
def _input_gradient(
    maps: tuple[Map, Map, Map], relu: bool, factors: tuple[Vector, Vector, Vector], to_input: Map, to_residual: Any
) -> None:
    """Gradient before ReLU to the residual; to the input: factors[0] * it + factors[1] * x + factors[2]."""
    x, out, grad = maps
    by_grad, by_x, constant = factors
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            bits = grad[row, column]
            if relu and out[row, column] <= 0:
                bits = np.int16(0)
            if to_residual is not None:
                to_residual[row, column] = bits
            value = by_grad[column] * _float(bits) + by_x[column] * _float(x[row, column]) + constant[column]
            to_input[row, column] = _bfloat(value)


@_compiled
def normalise_gradient(
    maps: tuple[Map, Map, Map], norm: Scaled, relu: bool, to_input: Map, to_residual: Map | None
) -> Any:
    """Write the gradients of `normalise`'s maps; return those of weight and bias.

    `maps` are what went in, what came out, and the gradient of that; mean and variance in `norm` are of the first.
    """
    x, out, grad = maps
    mean, var, eps, weight = norm
    columns, count = x.shape[1], x.size // len(weight)
    to_bias, products = _gradient_moments(x, out, grad, relu, len(weight))
    inverse_std = 1 / np.sqrt(var + eps)
    to_weight = (products - mean * to_bias) * inverse_std
    scale = weight * inverse_std
    by_x = -scale * inverse_std * to_weight / count
    constant = -scale * to_bias / count - by_x * mean
    factors = _by_column(scale, columns), _by_column(by_x, columns), _by_column(constant, columns)
    _input_gradient(maps, relu, factors, to_input, to_residual)
    return to_weight.astype(np.float32), to_bias.astype(np.float32)


@_compiled
def crop_flip_normalise(images: Any, chosen: tuple[Any, Any], scale: Vector, shift: Vector, out: Any) -> None:
    """out[i] = scale * images[i] - shift, cropped from offsets[:, i] on and mirrored; pixels outside are 0.

    Both are (images, height, width, channels): uint8 in, float32 out. `chosen` are the offsets, and who is mirrored.
    """
    offsets, mirrored = chosen
    count, height, width, channels = images.shape
    for i in range(count):
        for y in range(height):
            from_y = y + offsets[0, i]
            for x in range(width):
                from_x = (width - 1 - x if mirrored[i] else x) + offsets[1, i]
                inside = 0 <= from_y < height and 0 <= from_x < width
                for c in range(channels):
                    value = np.float32(images[i, from_y, from_x, c]) if inside else np.float32(0)
                    out[i, y, x, c] = value * scale[c] - shift[c]
