"""Convolutions on the CPU, past what oneDNN is slow at."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW_PIXELS = 16
"""Up to this size of a map, oneDNN takes up to 30 times as long in bfloat16 as the same matrix product."""


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x), where oneDNN is slow at it by another way.

    One tap of the kernel is a matrix product; a strided one gets the pixels that it reads. Some depthwise convolutions
    learn in float32.
    """
    if _reads_one_tap(conv, x):
        return _one_tap(conv, x)
    if _is_slow_in_bf16(conv, x):
        with torch.autocast("cpu", enabled=False):
            exact: Tensor = conv(x.float())
        return exact.to(torch.bfloat16)
    out: Tensor = conv(x)
    return out


def _reads_one_tap(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether only the middle of the kernel meets pixels: 1 x 1 kernels, and in bfloat16 kernels around one pixel."""
    is_hooked = conv._forward_hooks or conv._forward_pre_hooks
    if x.device.type != "cpu" or type(conv) is not nn.Conv2d or conv.groups != 1 or is_hooked:
        return False
    if conv.kernel_size == (1, 1):
        return conv.padding == (0, 0)
    return (
        in_bf16()
        and x.shape[2:] == (1, 1)
        and all(size % 2 for size in conv.kernel_size)
        and conv.padding == tuple(size // 2 for size in conv.kernel_size)
        and conv.padding_mode == "zeros"
        and conv.dilation == (1, 1)
    )


def _one_tap(conv: nn.Conv2d, x: Tensor) -> Tensor:
    down, right = conv.stride
    if down * right > 1:
        x = _every(x, down, right)
    tap = conv.weight
    if conv.kernel_size != (1, 1):  # in an exported graph, a weight that is not cut is easier to find
        height, width = (size // 2 for size in conv.kernel_size)
        tap = tap[:, :, height : height + 1, width : width + 1]
    if x.shape[2] * x.shape[3] > _FEW_PIXELS or not in_bf16():
        return F.conv2d(x, tap, conv.bias)
    return F.linear(x.permute(0, 2, 3, 1), tap.flatten(1), conv.bias).permute(0, 3, 1, 2)


def _every(x: Tensor, down: int, right: int) -> Tensor:
    """Every `down`-th row and `right`-th column of a map."""
    if torch.is_grad_enabled() and x.is_contiguous(memory_format=torch.channels_last):
        # A slice's gradient has the order of its dimensions: that of a channels-last map is to be channels last too.
        return x.permute(0, 2, 3, 1)[:, ::down, ::right].permute(0, 3, 1, 2)
    return x[:, :, ::down, ::right]


def in_bf16() -> bool:
    """Whether autocast has convolutions on the CPU run in bfloat16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _is_slow_in_bf16(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN's gradients of a depthwise convolution take 5 to 32 times as long in bfloat16 as in float32.

    They do where it is strided, and where the map is smaller than the kernel; `benchmarks/depthwise.py` has the times.
    """
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and 1 < conv.groups == conv.in_channels
        and conv.weight.dtype == torch.float32
        and in_bf16()
        and (conv.stride != (1, 1) or min(x.shape[2:]) < max(conv.kernel_size))
    )
