"""Closed-form costs of a whole population of codes at once. numpy only."""

import math

import numpy as np
import numpy.typing as npt

from evoprune.common.errors import UserError
from evoprune.space.levels import LevelSpace
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace
from evoprune.space.traced_costs import BYTES_PER_VALUE

Counts = npt.NDArray[np.int64]
COST_NAMES = ("flops", "params", "bandwidth")
_CHUNK = 512  # codes at once: what they need stays in the processor's cache


def compute_costs(space: SearchSpace, codes: npt.ArrayLike) -> dict[str, Counts]:
    """Costs of the slim networks of `codes`, without building them.

    `flops` are multiply-adds of convolutions and linear layers for one image (1 multiply-add = 1). `params` are all
    parameters. `bandwidth` is bytes in float32 for one image: each convolution and linear layer reads its input map
    and its parameters and writes its output map; batch norm, ReLU and additions are taken as fused into them (a batch
    norm's scale folds into the weights, so its parameters are not read).

    Args:
        space: the search space.
        codes: 0/1, shape (population, space.length), or (space.length,) for one; those of a traced network repaired.

    Returns:
        `flops`, `params`, `bandwidth`, each int64 of shape (population,).

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    checked = _check(space, codes)
    if isinstance(space, TracedSpace | LevelSpace):
        return space.costs.of(checked)
    totals = np.zeros((len(COST_NAMES), len(checked)), dtype=np.int64)
    for first in range(0, len(checked), _CHUNK):
        part = slice(first, first + _CHUNK)
        totals[:, part] = _costs(space, checked[part])
    return dict(zip(COST_NAMES, totals, strict=True))


def _check(space: SearchSpace, codes: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """The codes as uint8, shape (population, length)."""
    if isinstance(codes, np.ndarray) and codes.dtype == np.uint8 and codes.shape[1:] == (space.length,):
        matrix: npt.NDArray[np.uint8] = codes
        if matrix.max(initial=0) <= 1:
            return matrix
    return np.array([space.check(code) for code in _rows(codes)], dtype=np.uint8).reshape(-1, space.length)


def _rows(codes: npt.ArrayLike) -> list[npt.ArrayLike]:
    """The codes one by one; a single code is a population of one."""
    if not isinstance(codes, np.ndarray | list | tuple):
        raise UserError(f"codes are an array of shape (population, length), got {type(codes).__name__}")
    rows = list(codes)
    if not rows and np.ndim(codes) < 2:
        raise UserError("codes are an array of shape (population, length), got an empty list")
    return [rows] if rows and np.ndim(rows[0]) == 0 else rows


def code_costs(space: SearchSpace, code: npt.ArrayLike) -> dict[str, int]:
    """`compute_costs` of one code, as plain numbers."""
    return {name: int(value[0]) for name, value in compute_costs(space, code).items()}


def _costs(space: SearchSpace, codes: npt.NDArray[np.uint8]) -> tuple[Counts, Counts, Counts]:
    """`COST_NAMES` of `codes`, shape (population, length), each of shape (population,); all layers at once."""
    layers = space.layers
    kernel_area = np.array([layer.kernel**2 for layer in layers])
    strides_in, strides_out = [layer.stride_in for layer in layers], [layer.stride_out for layer in layers]
    area = {stride: _area(space, stride) for stride in {*strides_in, *strides_out}}
    area_in, area_out = (np.array([area[stride] for stride in strides]) for strides in (strides_in, strides_out))
    has_bias = np.array([layer.kind == "linear" for layer in layers], dtype=np.int64)
    has_norm = np.array([layer.norm is not None for layer in layers], dtype=np.int64)
    inputs, outputs = _layer_widths(space, codes)
    weights = kernel_area * inputs * outputs
    bias = has_bias * outputs
    return (
        (weights * area_out).sum(axis=1),
        (weights + bias + 2 * has_norm * outputs).sum(axis=1),
        BYTES_PER_VALUE * (inputs * area_in + weights + bias + outputs * area_out).sum(axis=1),
    )


def _layer_widths(space: SearchSpace, codes: npt.NDArray[np.uint8]) -> tuple[Counts, Counts]:
    """Input and output channels of every layer, shape (population, layers); 0 for an adapter that is not there."""
    column: dict[str | None, int] = {segment.name: index for index, segment in enumerate(space.segments)}
    column |= {"image": len(column), "classes": len(column) + 1}
    kept = np.maximum(space.count(codes), 1)  # an empty segment keeps one channel
    outside = [space.parameters["in_channels"], space.parameters["num_classes"]]
    widths = np.hstack([kept, np.tile(outside, (len(codes), 1))]).astype(np.int64)
    inputs = widths[:, [column[layer.inputs] for layer in space.layers]]
    outputs = widths[:, [column[layer.outputs] for layer in space.layers]]
    for index, layer in enumerate(space.layers):
        if layer.kind == "adapter":
            present = _differ(_repaired(space, codes, layer.inputs), _repaired(space, codes, layer.outputs))
            inputs[:, index] *= present
            outputs[:, index] *= present
    return inputs, outputs


def _repaired(space: SearchSpace, codes: npt.NDArray[np.uint8], name: str | None) -> npt.NDArray[np.uint8]:
    """The bits of one segment, of which an empty one keeps the first."""
    bits = codes[:, space.segment(name).slice].copy()
    bits[~bits.any(axis=1), 0] = 1
    return bits


def _area(space: SearchSpace, stride: int) -> int:
    """Pixels of a map; each halving of rows and columns rounds up, as a stride-2 layer with 'same' padding does."""
    return 1 if stride == 0 else math.prod(-(-side // stride) for side in space.height_width)


def _differ(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    if first.shape != second.shape:
        return np.ones(len(first), dtype=bool)
    return (first != second).any(axis=1)
