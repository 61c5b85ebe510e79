"""Networks whose forward says `view`: on maps that lie channels last, as they do here, it copies where it must."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_COPYING: dict[Any, Callable[..., Any]] = {Tensor.view: Tensor.reshape, Tensor.view_as: Tensor.reshape_as}


class _CopyingViews(TorchFunctionMode):
    """While it lasts, a view is a copy where the tensor lies in memory otherwise."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        is_of_type = any(isinstance(argument, torch.dtype) for argument in args)
        return (func if is_of_type else _COPYING.get(func, func))(*args, **(kwargs or {}))


_MODE = _CopyingViews()


def says_view(network: nn.Module) -> bool:
    """Whether one of the files that a network's classes are from says `view`; torch's own need no help."""
    names = {type(module).__module__ for module in network.modules()}
    files = (getattr(sys.modules.get(name), "__file__", None) for name in names if name.partition(".")[0] != "torch")
    return any("view" in Path(file).read_text(encoding="utf-8", errors="replace") for file in files if file)


def copy_views(network: nn.Module) -> None:
    """Have `x.view(len(x), -1)` in a network's forward work on maps of any layout.

    Convolutions are fastest channels last, so that images and weights lie so here. Where the network was written, maps
    lay otherwise, and such a view was no error.
    """
    network.register_forward_pre_hook(_enter)
    network.register_forward_hook(_leave, always_call=True)


def _enter(network: nn.Module, inputs: Any) -> None:
    _MODE.__enter__()


def _leave(network: nn.Module, inputs: Any, outputs: Any) -> None:
    _MODE.__exit__(None, None, None)
