"""Constant channels that a module puts around what it reads: which of them a slim network keeps."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.space.table import ChannelTable, Code

Pad = Mapping[str, Any]
"""`module`, `axis`, and for those that come `before` and `after` whether each constant channel stays; JSON types."""


def kept_pads(table: ChannelTable, kept: Code) -> Iterator[Pad]:
    """The modules some of whose constant channels go; `kept` is a code with a 1 behind it."""
    for row in table.pads:
        keep = kept[row.bits] == 1
        before, after = keep[: row.before], keep[len(keep) - row.after :]
        if not (before.all() and after.all()):
            yield {"module": row.module, "axis": row.axis, "before": before.tolist(), "after": after.tolist()}


def select(network: nn.Module, pad: Pad) -> None:
    """Have a module hand on only some of its constant channels; where it does so already, some of those."""
    module = network.get_submodule(pad["module"])
    before, after = (np.asarray(pad[name], dtype=bool) for name in ("before", "after"))
    hooks = module._forward_hooks
    for number, hook in hooks.items():
        if isinstance(hook, _Selection) and hook.axis == pad["axis"]:
            hooks[number] = _Selection(hook.axis, _within(hook.before, before), _within(hook.after, after))
            return
    module.register_forward_hook(_Selection(pad["axis"], before, after))


def _within(kept: Code, again: Code) -> Code:
    """What is kept of what was kept."""
    found = kept.copy()
    found[kept] = again
    return found


class _Selection:
    """A forward hook that keeps some of the constant channels of what a module returns."""

    def __init__(self, axis: int, before: Code, after: Code) -> None:
        self.axis, self.before, self.after = axis, before, after

    def __call__(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        """The kept part of `output`."""
        middle = np.ones(output.shape[self.axis] - len(self.before) - len(self.after), dtype=bool)
        keep = np.flatnonzero(np.concatenate([self.before, middle, self.after]))
        return output.index_select(self.axis, torch.from_numpy(keep).to(output.device))
