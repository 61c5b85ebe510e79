"""What the living peer prunes in one shot, Torch-Pruning, as codes of our search spaces.

A code says exactly which channels it keeps, so that all that follows, recalibration, training and scoring, is the same
for its networks and for ours. `pip install '.[bench]'` installs it.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from evoprune.data.tensors import Data
from evoprune.space.costs import code_costs
from evoprune.space.ranking import fill
from evoprune.space.space import Code, SearchSpace

_STEPS = 100
_TAYLOR_IMAGES = 2048


def peer_codes(
    space: SearchSpace, base: nn.Module, data: Data, shares: list[float]
) -> Iterator[tuple[str, float, Code]]:
    """For every setting and share of the multiply-adds the code of the first of many small steps that has no more.

    As a step takes a channel of many layers at once, those of them that fit come back.
    """
    full = code_costs(space, space.full_code())["flops"]
    for name, prepare in SETTINGS.items():
        steps = _steps(space, base, data, prepare)
        before = code = next(steps)
        for share in sorted(shares, reverse=True):
            while code_costs(space, code)["flops"] > share * full:
                before, code = code, next(steps)
            yield name, share, fill(space, np.zeros(space.length), (code, before), share * full)


def _local(tp: Any) -> dict[str, Any]:
    return {"importance": tp.importance.GroupMagnitudeImportance(p=2), "global_pruning": False}


def _isomorphic(tp: Any) -> dict[str, Any]:
    return {
        "importance": tp.importance.GroupMagnitudeImportance(p=2),
        "global_pruning": True,
        "isomorphic": True,
        "max_pruning_ratio": 0.95,
    }


def _taylor(tp: Any) -> dict[str, Any]:
    return {"importance": tp.importance.GroupTaylorImportance(), "global_pruning": False}


SETTINGS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Torch-Pruning, L2 local": _local,
    "Torch-Pruning, L2 isomorphic": _isomorphic,
    "Torch-Pruning, Taylor local": _taylor,
}


def _steps(space: SearchSpace, base: nn.Module, data: Data, setting: Callable[[Any], dict[str, Any]]) -> Iterator[Code]:
    import torch_pruning as tp

    network = copy.deepcopy(base).cpu().eval().requires_grad_(True)
    pruner = tp.pruner.BasePruner(
        network,
        torch.randn(1, space.parameters["in_channels"], *space.height_width),
        pruning_ratio=0.95,
        iterative_steps=_STEPS,
        ignored_layers=[network.get_submodule("linear")],
        **setting(tp),
    )
    _gather_gradients(network, data)
    norms = {layer.outputs: network.get_submodule(layer.norm) for layer in space.layers if layer.norm is not None}
    for norm in norms.values():  # pruned with the norm, they say in the end which channels are left
        norm.running_mean.copy_(torch.arange(len(norm.running_mean)))
    for _ in range(_STEPS):
        yield _code(space, norms)
        pruner.step()
    yield _code(space, norms)


def _code(space: SearchSpace, norms: dict[str, nn.Module]) -> Code:
    code = np.zeros(space.length, dtype=np.uint8)
    for segment in space.segments:
        code[segment.start + norms[segment.name].running_mean.long().numpy()] = 1
    return code


def _gather_gradients(network: nn.Module, data: Data) -> None:
    """What Taylor importance looks at; magnitudes do not."""
    split = data.train.evenly(_TAYLOR_IMAGES)
    for first in range(0, len(split), 128):
        images, labels = split.batch(torch.arange(first, min(first + 128, len(split))))
        F.cross_entropy(network(data.normalise(images)), labels).backward()
