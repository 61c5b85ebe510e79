"""Least-squares compensation: layers make up for the channels that they no longer read with those that they keep.

Each layer is solved on its own, so that its output is nearest to the base network's (He et al. 2017, Channel Pruning;
Luo et al. 2017, ThiNet).
"""

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor

from evoprune.pruning.moments import InputMoments, Moments
from evoprune.space.groups import Layer
from evoprune.space.space import SearchSpace

RIDGE = 1e-3
"""As a share of the mean variance of what a layer reads. It keeps changes small where channels say nearly the same."""


@torch.no_grad()
def compensate(
    space: SearchSpace, state: Mapping[str, Tensor], code: npt.ArrayLike, moments: Moments
) -> dict[str, Tensor]:
    """Weights with which the slim network of `code` is nearest to the base network.

    For a layer with weights W that reads x and keeps the part s of it, the change D of the kept weights minimises the
    mean of |(W_s + D) s - W x|^2 + ridge |D|^2. The mean of the outputs stays what it is by the running mean of the
    batch norm that follows, or by the bias; where there is neither, it is a part of the error.

    Args:
        space: the search space.
        state: of the base network, with the weights of its adapters.
        code: 0/1, shape (space.length,); repaired first.
        moments: of the base network.

    Returns:
        Other values for entries of `state`, of the same shapes. What the code prunes in them is as it was.
    """
    kept = torch.from_numpy(space.kept_bits(code)).bool()
    solved: dict[str, Tensor] = {}
    for layer in space.layers:
        found, reads = moments.layers.get(layer.name), kept[space.input_bits(layer)]
        if found is not None and not reads.all():
            solved |= _solve_layer(layer, state, (reads, kept[space.output_bits(layer)]), found)
    return solved


def _solve_layer(
    layer: Layer, state: Mapping[str, Tensor], kept: tuple[Tensor, Tensor], moments: InputMoments
) -> dict[str, Tensor]:
    """Entries of the state of one layer; `kept` are masks of its inputs and of its outputs."""
    weight = state[f"{layer.name}.weight"]
    full = weight.double().flatten(1)
    reads = kept[0].repeat_interleave(full.shape[1] // weight.shape[1]).to(full.device)
    outputs = kept[1].nonzero().flatten().to(full.device)
    mean, second = (full.new_tensor(values) for values in (moments.mean, moments.covariance))
    absorbed = f"{layer.norm}.running_mean" if layer.norm is not None else f"{layer.name}.bias"
    if absorbed not in state:
        second = second + torch.outer(mean, mean)
    pruned = full[outputs][:, ~reads]
    change = _change(pruned, second, reads)
    full = full.clone()
    full[outputs[:, None], reads.nonzero().T] += change
    solved = {f"{layer.name}.weight": full.reshape(weight.shape).to(weight.dtype)}
    if absorbed in state:
        shift = change @ mean[reads] - pruned @ mean[~reads]
        value = state[absorbed].double().clone()  # a norm subtracts its mean, a bias is added
        value[outputs] += shift if layer.norm is not None else -shift
        solved[absorbed] = value.to(weight.dtype)
    return solved


def _change(pruned: Tensor, second: Tensor, reads: Tensor) -> Tensor:
    """What the kept weights get for the `pruned` ones, shape (outputs, kept values)."""
    among = second[reads][:, reads]
    among.diagonal().add_(RIDGE * among.diagonal().mean().clamp(min=1e-12))
    return torch.cholesky_solve(second[reads][:, ~reads] @ pruned.T, torch.linalg.cholesky(among)).T
