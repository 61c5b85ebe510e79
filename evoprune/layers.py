"""Batch norm, residual addition and ReLU as one layer: fused on the CPU in bfloat16, plain torch elsewhere."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_COLUMNS = 1024

Array = npt.NDArray[Any]
_NOT_FINITE_IS_FINE = np.errstate(all="ignore")  # as in torch; the training loop looks at its loss


def norm_relu(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None, relu: bool = True) -> Tensor:
    """relu(norm(x) + residual), shape (batch, channels, height, width).

    Args:
        norm: its running statistics are updated in training mode, as torch does it.
        x: output of a convolution.
        residual: added before ReLU, same shape.
        relu: False leaves the sum as it is.
    """
    if _can_fuse(norm, x) and (residual is None or _can_fuse(norm, residual)):
        if norm.training:
            return _FusedNorm.apply(x, norm.weight, norm.bias, residual, norm, relu)
        if not torch.is_grad_enabled():
            return _normalise(x, *_running_affine(norm), residual, relu)
    out = norm(x)
    if residual is not None:
        out = out + residual
    return F.relu(out) if relu else out


def _can_fuse(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.is_contiguous(memory_format=torch.channels_last)
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.track_running_stats
        and not (norm._forward_hooks or norm._forward_pre_hooks)
    )


class _FusedNorm(torch.autograd.Function):
    """Batch norm with the batch's own statistics (Ioffe and Szegedy 2015), then residual and ReLU."""

    @staticmethod
    @_NOT_FINITE_IS_FINE
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, norm: nn.BatchNorm2d, relu: bool
    ) -> Tensor:
        from evoprune import kernels

        count = x.numel() // x.shape[1]
        total, squares = _reduce(kernels.add_moments, x.shape[1], _rows(x))
        mean = total / count
        var = np.maximum(squares / count - mean * mean, 0)
        _update_running(norm, mean, var, count)
        inverse_std = 1 / np.sqrt(var + norm.eps)
        scale = _array(weight) * inverse_std
        out = _normalise(x, scale, _array(bias) - mean * scale, residual, relu)
        ctx.save_for_backward(x, out if relu else x)
        ctx.state = mean, inverse_std, scale, relu, residual is not None
        return out

    @staticmethod
    @_NOT_FINITE_IS_FINE
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from evoprune import kernels

        x, out = ctx.saved_tensors
        mean, inverse_std, scale, relu, has_residual = ctx.state
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        maps = _rows(x), _rows(out), _rows(grad)
        count, channels = x.numel() // x.shape[1], x.shape[1]
        to_bias, products = _reduce(kernels.add_gradient_moments, channels, *maps, relu)
        to_weight = (products - mean * to_bias) * inverse_std
        by_x = -scale * inverse_std * to_weight / count
        factors = scale, by_x, -scale * to_bias / count - by_x * mean
        to_input = torch.empty_like(x)
        to_residual = torch.empty_like(x) if has_residual else None
        wide = tuple(_widen(factor, maps[0].shape[1]) for factor in factors)
        kernels.input_gradient(*maps, relu, wide, _rows(to_input), None if to_residual is None else _rows(to_residual))
        return to_input, _tensor(to_weight), _tensor(to_bias), to_residual, None, None


def _normalise(x: Tensor, scale: Array, shift: Array, residual: Tensor | None, relu: bool) -> Tensor:
    from evoprune import kernels

    out = torch.empty_like(x)
    rows = _rows(x)
    columns = rows.shape[1]
    added = None if residual is None else _rows(residual)
    kernels.scale_shift(rows, _widen(scale, columns), _widen(shift, columns), added, relu, _rows(out))
    return out


def _running_affine(norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - _array(norm.running_mean) * scale


def _update_running(norm: nn.BatchNorm2d, mean: Array, var: Array, count: int) -> None:
    """As torch.nn.BatchNorm2d: a moving average, or with momentum None the plain one; the variance unbiased."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(_tensor(mean), share)
    norm.running_var.lerp_(_tensor(var * count / max(1, count - 1)), share)


def _rows(x: Tensor) -> npt.NDArray[np.int16]:
    """The map as a matrix of whole pixels per row, a view; the same shape of map gives the same matrix shape."""
    pixels = x.permute(0, 2, 3, 1).view(torch.int16).numpy()
    return pixels.reshape(-1, _columns(x.numel(), x.shape[1]))


@lru_cache(maxsize=4096)
def _columns(size: int, channels: int) -> int:
    """Values of one row: as many whole pixels, by doubling, as divide the map and stay short."""
    columns = channels
    while 2 * columns <= _MOST_COLUMNS and size % (2 * columns) == 0:
        columns *= 2
    return columns


def _reduce(kernel: Any, channels: int, *inputs: Any) -> tuple[Array, Array]:
    """Two sums by channel, float64: of columns in float32 by the kernel, of a channel's columns here."""
    columns = inputs[0].shape[1]
    first, second = np.zeros((2, columns), dtype=np.float32)
    kernel(*inputs, first, second)
    return tuple(part.reshape(-1, channels).sum(axis=0, dtype=np.float64) for part in (first, second))


def _widen(values: Array, columns: int) -> npt.NDArray[np.float32]:
    """A value per channel repeated for every pixel of a row."""
    return np.tile(values.astype(np.float32), columns // len(values))


def _array(parameter: Tensor) -> Array:
    return parameter.detach().numpy().astype(np.float64)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
