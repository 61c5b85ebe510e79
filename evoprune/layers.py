"""Convolution, batch norm, residual addition and ReLU: fused on the CPU in bfloat16, plain torch elsewhere."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_COLUMNS = 1024

Array = npt.NDArray[Any]


def conv_norm_relu(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None, relu: bool = True
) -> Tensor:
    """norm_relu(norm, conv(x), residual, relu); one convolution with a folded norm where nothing is learnt.

    There the sum may be written over `residual`, as nothing else will need it.
    """
    if _can_fold(conv, norm, x, residual):
        return _folded(conv, norm, x, residual, relu)
    return norm_relu(norm, conv(x), residual, relu)


def _can_fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    return (
        not (norm.training or torch.is_grad_enabled())
        and _has_folded_convolution()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and type(conv) is nn.Conv2d
        and conv.bias is None
        and isinstance(conv.padding, tuple)
        and conv.padding_mode == "zeros"
        and not (conv._forward_hooks or conv._forward_pre_hooks)
        and _can_fuse(norm, x)
        and (residual is None or _can_fuse(norm, residual))
    )


@lru_cache(maxsize=1)
def _has_folded_convolution() -> bool:
    """Whether this build of torch has the fused convolutions of oneDNN."""
    names = torch._C._dispatch_get_all_op_names()
    wanted = {"mkldnn::_convolution_pointwise", "mkldnn::_convolution_pointwise_.binary"}
    return torch.backends.mkldnn.is_available() and wanted <= set(names)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * scale[:, None, None, None]).to(x.dtype)
    bias = torch.addcmul(norm.bias, norm.running_mean, scale, value=-1).to(x.dtype)
    given = (x, weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups)
    if residual is None:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(*given, "relu" if relu else "none", [], None)
    else:
        after = "relu" if relu else None
        out = torch.ops.mkldnn._convolution_pointwise_.binary(residual, *given, "add", 1.0, after, [], None)
    return out


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
            return _normalise(norm, x, _array(norm.running_mean), _array(norm.running_var), residual, relu)
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
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, norm: nn.BatchNorm2d, relu: bool
    ) -> Tensor:
        from evoprune import kernels

        mean, var = kernels.batch_moments(_rows(x), x.shape[1])
        _update_running(norm, mean, var, x.numel() // x.shape[1])
        out = _normalise(norm, x, mean, var, residual, relu)
        ctx.save_for_backward(x, out if relu else x, weight)
        ctx.state = mean, var, norm.eps, relu, residual is not None
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from evoprune import kernels

        x, out, weight = ctx.saved_tensors
        mean, var, eps, relu, has_residual = ctx.state
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        to_input = torch.empty_like(x)
        to_residual = torch.empty_like(x) if has_residual else None
        to_maps = _rows(to_input), None if to_residual is None else _rows(to_residual)
        to_weight, to_bias = kernels.normalise_gradient(
            _rows(x), _rows(out), _rows(grad), relu, mean, var, eps, _array(weight), *to_maps
        )
        return to_input, torch.from_numpy(to_weight), torch.from_numpy(to_bias), to_residual, None, None


def _normalise(norm: nn.BatchNorm2d, x: Tensor, mean: Array, var: Array, residual: Tensor | None, relu: bool) -> Tensor:
    from evoprune import kernels

    out = torch.empty_like(x)
    added = None if residual is None else _rows(residual)
    kernels.normalise(_rows(x), mean, var, norm.eps, _array(norm.weight), _array(norm.bias), added, relu, _rows(out))
    return out


def _update_running(norm: nn.BatchNorm2d, mean: Array, var: Array, count: int) -> None:
    """As torch.nn.BatchNorm2d: a moving average, or with momentum None the plain one; the variance unbiased."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    for running, now in ((norm.running_mean, mean), (norm.running_var, var * (count / max(1, count - 1)))):
        values = _array(running)
        values += share * (now - values)


def _rows(x: Tensor) -> npt.NDArray[np.int16]:
    """The map as a matrix of whole pixels per row, a view; the same shape of map gives the same matrix shape."""
    pixels = x.view(torch.int16).numpy().transpose(0, 2, 3, 1)
    return pixels.reshape(-1, _columns(pixels.size, pixels.shape[3]))


@lru_cache(maxsize=4096)
def _columns(size: int, channels: int) -> int:
    """Values of one row: as many whole pixels, by doubling, as divide the map and stay short."""
    columns = channels
    while 2 * columns <= _MOST_COLUMNS and size % (2 * columns) == 0:
        columns *= 2
    return columns


def _array(values: Tensor | None) -> Array:
    """The tensor's own memory."""
    assert values is not None
    return values.detach().numpy()
