"""A code and a traced network -> a narrower copy of the user's own module, or a copy with pruned channels at zero."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.space.repair import repair
from evoprune.space.table import ChannelTable, Code, TensorRow
from evoprune.tracing.pads import kept_pads, select

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


@torch.no_grad()
def narrow(
    table: ChannelTable, network: nn.Module, code: npt.ArrayLike, changes: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The slim network of a code: a deep copy of the network with narrower parameters and buffers.

    Its class, its `forward` and the names in its state are those of the network. In eval mode it computes what
    `masked` computes.

    Args:
        table: of the network.
        network: the traced network, or one of the same shapes. It is left as it is.
        code: 0/1, shape (table.length,); repaired first.
        changes: other values, of full width, for entries of its state.

    Returns:
        A new module on the device and in the mode of `network`.

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    kept = kept_bits(table, code)
    grouped = {id(_tensor(network, row.name)) for row in table.tensors if row.groups > 1}
    slim = _copied(network, _replaced(table, network, kept, changes or {}), grouped)
    for pad in kept_pads(table, kept):
        select(slim, pad)
    return slim


@torch.no_grad()
def shaped(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy of a network whose parameters and buffers have other shapes, and no values yet.

    Args:
        network: as it was before `narrow`.
        shapes: by the names that `whole_state` has.

    Raises:
        UserError: a shape that cannot be that of a narrower tensor.
    """
    replaced: dict[int, Any] = {}
    for name, value in whole_state(network).items():
        shape = tuple(shapes.get(name, value.shape))
        if len(shape) != value.dim() or any(new > old for new, old in zip(shape, value.shape, strict=True)):
            raise UserError(f"{name} has shape {shape}, which is not narrower than the network's {tuple(value.shape)}")
        if shape != tuple(value.shape):
            replaced[id(value)] = in_place_of(value, value.detach().new_empty(shape))
    return _copied(network, replaced)


def in_place_of(value: Tensor, other: Tensor) -> Tensor:
    """Another tensor for one of a network's: a parameter where that is one."""
    return nn.Parameter(other, value.requires_grad) if isinstance(value, nn.Parameter) else other


def whole_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network's state and the buffers that it leaves out, themselves: surgery narrows all of them."""
    return {**network.state_dict(keep_vars=True), **dict(network.named_buffers(remove_duplicate=False))}


def _copied(network: nn.Module, replaced: dict[int, Any], grouped: Collection[int] = ()) -> nn.Module:
    """A deep copy with other tensors, which are given by the identity of those that they replace.

    So are the weights of grouped convolutions that keep all groups: with one input left of each, nothing else tells
    them from depthwise ones.
    """
    copied = copy.deepcopy(network, replaced)
    for own, module in zip(network.modules(), copied.modules(), strict=True):
        _set_widths(module, isinstance(own, _CONVOLUTIONS) and id(own.weight) in grouped)
    return copied


@torch.no_grad()
def masked(table: ChannelTable, network: nn.Module, code: npt.ArrayLike) -> nn.Module:
    """A deep copy of the network whose pruned channels are written and read by zeros only.

    Args:
        table: of the network.
        network: the traced network. It is left as it is.
        code: 0/1, shape (table.length,); repaired first.

    Returns:
        A new module of the same shapes, on the device and in the mode of `network`.

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    copied = copy.deepcopy(network)
    for name, mask in masks_of(table, network, code).items():
        _tensor(copied, name).mul_(mask)
    return copied


def masks_of(table: ChannelTable, network: nn.Module, code: npt.ArrayLike) -> dict[str, Tensor]:
    """What of each parameter and buffer the slim network of a code keeps, by name.

    Args:
        table: of the network.
        network: the traced network, or one of the same shapes.
        code: 0/1, shape (table.length,); repaired first.

    Returns:
        Booleans in the shapes of the tensors that have channels, on their devices.

    Raises:
        UserError: a code of the wrong length or with other values than 0 and 1.
    """
    kept = kept_bits(table, code).astype(bool)
    return {row.name: _mask(_tensor(network, row.name), row, kept) for row in table.tensors}


def _mask(value: Tensor, row: TensorRow, kept: npt.NDArray[np.bool_]) -> Tensor:
    mask = torch.ones(value.shape, dtype=torch.bool, device=value.device)
    groups = _by_group(mask, row)
    for axis, bits in enumerate(row.bits):
        shape = [1] * groups.dim()
        if row.groups > 1 and axis < 2:
            shape[0], shape[axis + 1] = row.groups, -1
        else:
            shape[axis + (row.groups > 1)] = -1
        groups &= torch.from_numpy(kept[bits]).to(value.device).reshape(shape)
    return mask


def kept_bits(table: ChannelTable, code: npt.ArrayLike) -> Code:
    """The repaired code with a 1 behind it, which is where -1 points; shape (table.length + 1,)."""
    return np.append(repair(table, code), np.uint8(1))


def _tensor(network: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its name."""
    module, _, leaf = name.rpartition(".")
    value = getattr(network.get_submodule(module), leaf)
    assert isinstance(value, Tensor)
    return value


def _by_group(value: Tensor, row: TensorRow) -> Tensor:
    """The weight of a grouped convolution with an axis of groups in front; others as they are."""
    return value if row.groups == 1 else value.view(row.groups, -1, *value.shape[1:])


def _replaced(table: ChannelTable, network: nn.Module, kept: Code, changes: Mapping[str, Tensor]) -> dict[int, Any]:
    """Narrower tensors by the identity of those that a deep copy shall have them in place of."""
    replaced: dict[int, Any] = {}
    for row in table.tensors:
        if row.name not in changes and all(kept[bits].all() for bits in row.bits):
            continue
        value = _tensor(network, row.name)
        replaced[id(value)] = in_place_of(value, _part(changes.get(row.name, value).detach(), row, kept))
    return replaced


def _part(value: Tensor, row: TensorRow, kept: Code) -> Tensor:
    """What is kept of a parameter or buffer."""
    if row.groups > 1:
        columns = [kept[bits].reshape(row.groups, -1) for bits in row.bits[:2]]
        pairs = zip(_by_group(value, row), *columns, strict=True)
        value = torch.cat([_rows(_rows(group, 0, outputs), 1, inputs) for group, outputs, inputs in pairs])
    for axis, bits in enumerate(row.bits):
        if (row.groups == 1 or axis > 1) and not kept[bits].all():
            value = _rows(value, axis, kept[bits])
    return value.contiguous()


def _rows(value: Tensor, axis: int, keep: Code) -> Tensor:
    return value.index_select(axis, torch.from_numpy(np.flatnonzero(keep)).to(value.device))


def _set_widths(module: nn.Module, keeps_groups: bool) -> None:
    """Make the numbers that a layer knows of itself agree with its weights."""
    if isinstance(module, _CONVOLUTIONS):
        outputs, inputs = module.weight.shape[:2]
        if isinstance(module, _TRANSPOSED):
            outputs, inputs = inputs, outputs
        if 1 < module.groups == module.in_channels and not keeps_groups:
            times = module.out_channels // module.in_channels
            wide = module.weight.shape[0]
            module.groups = module.in_channels = wide if isinstance(module, _TRANSPOSED) else wide // times
            module.out_channels = module.in_channels * times
        elif isinstance(module, _TRANSPOSED):
            module.in_channels, module.out_channels = inputs, outputs * module.groups
        else:
            module.in_channels, module.out_channels = inputs * module.groups, outputs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _NORMS):
        known = module.weight if module.weight is not None else module.running_mean
        module.num_features = module.num_features if known is None else len(known)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
