"""Convolution, batch norm, residual addition and ReLU: fused on the CPU in bfloat16, plain torch elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.networks.convolution import convolve, in_bf16

_MOST_COLUMNS = 1024
Array = npt.NDArray[Any]
Layers = tuple[nn.Conv2d, nn.BatchNorm2d]
_folds: ContextVar[dict[Layers, tuple[Tensor, Tensor]] | None] = ContextVar("folds", default=None)


@contextmanager
def constant_weights() -> Iterator[None]:
    """A promise that no weight and no statistic changes inside: what is computed from them alone is computed once."""
    token = _folds.set({})
    try:
        yield
    finally:
        _folds.reset(token)


def conv_norm_relu(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None, relu: bool = True
) -> Tensor:
    """norm_relu(norm, conv(x), residual, relu); one convolution with a folded norm where nothing is learnt.

    There the sum may be written over `residual`, as nothing else will need it.
    """
    if _can_fold(conv, norm, x, residual):
        return _folded(conv, norm, x.to(torch.bfloat16), residual, relu)
    return norm_relu(norm, convolve(conv, x), residual, relu)


def _can_fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    return (
        not (norm.training or torch.is_grad_enabled())
        and in_bf16()
        and _has_folded_convolution()  # asks an operator of torch's, which must not be in the graph of an export
        and type(conv) is nn.Conv2d
        and conv.bias is None
        and isinstance(conv.padding, tuple)
        and conv.padding_mode == "zeros"
        and not (conv._forward_hooks or conv._forward_pre_hooks)
        and _can_fuse(norm, x.to(torch.bfloat16))  # autocast would cast an image too
        and (residual is None or (_can_fuse(norm, residual) and residual.shape == _output_shape(conv, x)))
    )


def _output_shape(conv: nn.Conv2d, x: Tensor) -> tuple[int, ...]:
    """Of a convolution's output."""
    assert isinstance(conv.padding, tuple)
    reach = [gap * (kernel - 1) + 1 for gap, kernel in zip(conv.dilation, conv.kernel_size, strict=True)]
    padded = [size + 2 * pad for size, pad in zip(x.shape[2:], conv.padding, strict=True)]
    sizes = ((size - one) // step + 1 for size, one, step in zip(padded, reach, conv.stride, strict=True))
    return (x.shape[0], conv.out_channels, *sizes)


@lru_cache(maxsize=1)
def _has_folded_convolution() -> bool:
    """Whether this build of torch has the fused convolutions of oneDNN, and this CPU can do them in bfloat16."""
    names = torch._C._dispatch_get_all_op_names()
    asked = "mkldnn::_is_mkldnn_bf16_supported"
    wanted = {"mkldnn::_convolution_pointwise", "mkldnn::_convolution_pointwise_.binary", asked}
    is_there = torch.backends.mkldnn.is_available() and wanted <= set(names)
    return is_there and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, bfloat16, of the convolution that does the norm's work too."""
    known = _folds.get()
    if known is not None and (conv, norm) in known:
        return known[conv, norm]
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (conv.weight * scale[:, None, None, None]).bfloat16()
    bias = torch.addcmul(norm.bias, norm.running_mean, scale, value=-1).bfloat16()
    if known is not None:
        known[conv, norm] = weight, bias
    return weight, bias


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    given = (x, *_fold(conv, norm), conv.padding, conv.stride, conv.dilation, conv.groups)
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
        residual: added before ReLU; of the same shape, or one that broadcasts.
        relu: False leaves the sum as it is.
    """
    if _can_fuse(norm, x) and (residual is None or (residual.shape == x.shape and _can_fuse(norm, residual))):
        if norm.training:
            return _FusedNorm.apply(x, norm.weight, norm.bias, residual, (norm, relu))
        if not torch.is_grad_enabled():
            return _normalise(norm, x, (_array(norm.running_mean), _array(norm.running_var)), residual, relu)
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
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, how: tuple[nn.BatchNorm2d, bool]
    ) -> Tensor:
        from evoprune.common import kernels

        norm, relu = how
        moments = kernels.batch_moments(_rows(x), x.shape[1])
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        running = _array(norm.running_mean), _array(norm.running_var)
        kernels.update_running(running, moments, x.numel() // x.shape[1], share)
        out = _normalise(norm, x, moments, residual, relu)
        ctx.save_for_backward(x, out if relu else x, weight)
        ctx.state = moments, norm.eps, relu, residual is not None
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from evoprune.common import kernels

        x, out, weight = ctx.saved_tensors
        (mean, var), eps, relu, has_residual = ctx.state
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        to_input = torch.empty_like(x)
        to_residual = torch.empty_like(x) if has_residual else None
        to_maps = _rows(to_input), None if to_residual is None else _rows(to_residual)
        maps, scaled = (_rows(x), _rows(out), _rows(grad)), (mean, var, eps, _array(weight))
        to_weight, to_bias = kernels.normalise_gradient(maps, scaled, relu, *to_maps)
        return to_input, torch.from_numpy(to_weight), torch.from_numpy(to_bias), to_residual, None


def _normalise(
    norm: nn.BatchNorm2d, x: Tensor, moments: tuple[Array, Array], residual: Tensor | None, relu: bool
) -> Tensor:
    from evoprune.common import kernels

    out = torch.empty_like(x)
    added = None if residual is None else _rows(residual)
    given = (*moments, norm.eps, _array(norm.weight), _array(norm.bias))
    kernels.normalise(_rows(x), given, added, relu, _rows(out))
    return out


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
