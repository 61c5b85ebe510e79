"""Convolutions on the CPU, past what oneDNN is slow at."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x), where oneDNN is slow at it by another way.

    A strided 1 x 1 convolution gets the pixels that it reads. Some depthwise ones learn in float32.
    """
    if (
        x.device.type == "cpu"
        and conv.kernel_size == (1, 1)
        and conv.stride != (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and type(conv) is nn.Conv2d
        and not (conv._forward_hooks or conv._forward_pre_hooks)
    ):
        down, right = conv.stride
        return F.conv2d(x[:, :, ::down, ::right], conv.weight, conv.bias)
    if _is_slow_in_bf16(conv, x):
        with torch.autocast("cpu", enabled=False):
            exact: Tensor = conv(x.float())
        return exact.to(torch.bfloat16)
    out: Tensor = conv(x)
    return out


def _is_slow_in_bf16(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN's gradients of a depthwise convolution take 8 to 170 times as long in bfloat16 as in float32.

    They do where it is strided, and where the map is smaller than the kernel; `benchmarks/depthwise.py` has the times.
    """
    return (
        x.device.type == "cpu"
        and torch.is_grad_enabled()
        and 1 < conv.groups == conv.in_channels
        and conv.weight.dtype == torch.float32
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and (conv.stride != (1, 1) or min(x.shape[2:]) < max(conv.kernel_size))
    )
