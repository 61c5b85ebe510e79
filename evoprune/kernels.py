"""Loops over bfloat16 feature maps, compiled by Numba once per machine. The only module that imports Numba.

torch's batch norm on the CPU reads a channels-last map of few channels one element at a time. Here a map is a matrix
whose rows hold whole pixels, `period` of them, so that a column always belongs to one channel and every loop over a row
is a vector loop, whatever the number of channels. bfloat16 is the upper half of a float32: NumPy does not know it, so
maps come as int16.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Map = npt.NDArray[np.int16]
Vector = npt.NDArray[np.float32]
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
def add_moments(x: Map, total: Vector, squares: Vector) -> None:
    """Add the columns of `x` (rows, columns), and of its squares, to two vectors (columns,)."""
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = _float(x[row, column])
            total[column] += value
            squares[column] += value * value


@_compiled
def scale_shift(x: Map, scale: Vector, shift: Vector, residual: Map | None, relu: bool, out: Map) -> None:
    """out = scale * x + shift (+ residual), not below 0 with `relu`."""
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = scale[column] * _float(x[row, column]) + shift[column]
            if residual is not None:
                value += _float(residual[row, column])
            out[row, column] = _bfloat(max(value, np.float32(0)) if relu else value)


@_compiled
def add_gradient_moments(x: Map, out: Map, grad: Map, relu: bool, total: Vector, products: Vector) -> None:
    """Add the columns of the gradient before ReLU, and of its product with `x`, to two vectors (columns,)."""
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            value = _float(grad[row, column])
            if relu and out[row, column] <= 0:
                value = np.float32(0)
            total[column] += value
            products[column] += value * _float(x[row, column])


@_compiled
def input_gradient(
    x: Map,
    out: Map,
    grad: Map,
    relu: bool,
    factors: tuple[Vector, Vector, Vector],
    to_input: Map,
    to_residual: Map | None,
) -> None:
    """Gradient before ReLU to the residual; to the input: factors[0] * it + factors[1] * x + factors[2]."""
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
