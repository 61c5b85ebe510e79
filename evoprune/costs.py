"""Closed-form costs of a whole population of codes at once. numpy only."""

import numpy as np
import numpy.typing as npt

from evoprune.errors import UserError
from evoprune.space import Layer, SearchSpace

Counts = npt.NDArray[np.int64]
BYTES_PER_VALUE = 4
COST_NAMES = ("flops", "params", "bandwidth")


def compute_costs(space: SearchSpace, codes: npt.ArrayLike) -> dict[str, Counts]:
    """Costs of the slim networks of `codes`, without building them.

    `flops` are multiply-adds of convolutions and linear layers for one image (1 multiply-add = 1). `params` are all
    parameters. `bandwidth` is bytes in float32 for one image: each convolution and linear layer reads its input map
    and its parameters and writes its output map; batch norm, ReLU and additions are taken as fused into them (a batch
    norm's scale folds into the weights, so its parameters are not read).

    Args:
        space: the search space.
        codes: 0/1, shape (population, space.length), or (space.length,) for one.

    Returns:
        `flops`, `params`, `bandwidth`, each int64 of shape (population,).

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    repaired = np.array([space.repair(code) for code in _rows(codes)]).reshape(-1, space.length)
    bits = {segment.name: repaired[:, segment.slice] for segment in space.segments}
    totals = {name: np.zeros(len(repaired), dtype=np.int64) for name in COST_NAMES}
    for layer in space.layers:
        for name, value in _layer_costs(space, layer, bits).items():
            totals[name] += value
    return totals


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


def _layer_costs(space: SearchSpace, layer: Layer, bits: dict[str, npt.NDArray[np.uint8]]) -> dict[str, Counts]:
    population = len(next(iter(bits.values())))
    constant = {"image": space.parameters["in_channels"], "classes": space.parameters["num_classes"]}

    def width(side: str) -> Counts:
        if side in constant:
            return np.full(population, constant[side], dtype=np.int64)
        return bits[side].sum(axis=1, dtype=np.int64)

    inputs, outputs = width(layer.inputs), width(layer.outputs)
    area_in, area_out = (_area(space, stride) for stride in (layer.stride_in, layer.stride_out))
    weights = layer.kernel**2 * inputs * outputs
    bias = outputs if layer.kind == "linear" else np.zeros_like(outputs)
    norm = 2 * outputs if layer.norm is not None else np.zeros_like(outputs)
    costs = {
        "flops": weights * area_out,
        "params": weights + bias + norm,
        "bandwidth": BYTES_PER_VALUE * (inputs * area_in + weights + bias + outputs * area_out),
    }
    if layer.kind == "adapter":
        present = _differ(bits[layer.inputs], bits[layer.outputs])
        costs = {name: value * present for name, value in costs.items()}
    return costs


def _area(space: SearchSpace, stride: int) -> int:
    """Pixels of a map; each halving rounds up, as a stride-2 layer with 'same' padding does."""
    return 1 if stride == 0 else (-(-space.parameters["image_size"] // stride)) ** 2


def _differ(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    if first.shape != second.shape:
        return np.ones(len(first), dtype=bool)
    return (first != second).any(axis=1)
