"""Masks: for each parameter that is pruned a tensor of its shape, True where a weight stays. Plain tensors."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from evoprune.pruning.weights.sparsities import Group

Masks = dict[str, Tensor]
"""By the name of the parameter; a parameter without a mask stays whole."""


@torch.no_grad()
def smallest_out(
    network: nn.Module, groups: Sequence[Group], masks: Mapping[str, Tensor] | None = None, share: float = 1.0
) -> Masks:
    """Masks that take the smallest weights out, by their absolute value (L1).

    What `masks` has taken out stays out and counts: so masks of rising sparsity are nested. Of n weights that are
    ranked together, round(group.at(share) * n) are out in the end; of equal ones the earlier goes first.

    Args:
        network: whose weights are ranked. It is left as it is.
        groups: who is ranked with whom, and how many go.
        masks: what is out already.
        share: of the way to the groups' sparsities, in [0, 1].
    """
    found = dict(masks or {})
    for group in groups:
        weights = [network.get_parameter(name) for name in group.parameters]
        keys = torch.cat(
            [_key(weight, found.get(name)) for name, weight in zip(group.parameters, weights, strict=True)]
        )
        gone = max(round(group.at(share) * len(keys)), int((keys < 0).sum()))
        keep = torch.ones_like(keys, dtype=torch.bool)
        keep[keys.argsort(stable=True)[:gone]] = False
        parts = keep.split([weight.numel() for weight in weights])
        found |= {name: part.reshape(weight.shape) for name, part, weight in
                  zip(group.parameters, parts, weights, strict=True)}  # fmt: skip
    return found


def from_here(network: nn.Module, groups: Sequence[Group], masks: Mapping[str, Tensor]) -> tuple[Group, ...]:
    """The groups with what is out by now as the start of their rise."""

    def start(group: Group) -> float:
        gone = sum(int((~masks[name]).sum()) for name in group.parameters if name in masks)
        return gone / sum(network.get_parameter(name).numel() for name in group.parameters)

    return tuple(replace(group, start=min(start(group), group.sparsity)) for group in groups)


def _key(weight: Tensor, mask: Tensor | None) -> Tensor:
    """What weights are ranked by, shape (n,); what is out already comes first."""
    key = weight.abs().flatten()
    return key if mask is None else key.masked_fill(~mask.to(weight.device).flatten(), -1.0)


@torch.no_grad()
def code_masks(network: nn.Module, slim: Callable[[nn.Module], nn.Module]) -> Masks:
    """Masks that keep what a slim network inherits: with them the network computes what the slim one does.

    Copies of the network are made slim whose parameters hold, instead of weights, where each of them lies.

    Args:
        network: of full width. It is left as it is.
        slim: makes a network of that shape slim, and lets all that it inherits unchanged.
    """
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    kept: dict[str, list[Tensor]] = {}
    for axis in range(max(map(len, shapes.values()))):
        numbered = _copy_with_places(network, axis)
        for name, parameter in slim(numbered).named_parameters():
            if name in shapes and axis < len(shapes[name]):
                kept.setdefault(name, []).append(parameter.detach().long())
    masks = {}
    for name, places in kept.items():
        mask = torch.zeros(shapes[name], dtype=torch.bool, device=places[0].device)
        mask[tuple(places)] = True
        if not mask.all():
            masks[name] = mask
    return masks


def _copy_with_places(network: nn.Module, axis: int) -> nn.Module:
    """A copy whose parameters hold the index along `axis` of each of their elements."""
    numbered = copy.deepcopy(network)
    for parameter in numbered.parameters():
        if axis < parameter.dim():
            shape = [-1 if place == axis else 1 for place in range(parameter.dim())]
            parameter.copy_(torch.arange(parameter.shape[axis], device=parameter.device).reshape(shape))
    return numbered


def both(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Masks:
    """Masks that keep what both keep."""
    met = {name: first[name] & second[name].to(first[name].device) for name in first.keys() & second.keys()}
    return {**first, **second, **met}


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set what the masks take out to zero, in place."""
    for name, mask in masks.items():
        network.get_parameter(name).masked_fill_(~mask.to(network.get_parameter(name).device), 0.0)


def sparsity(masks: Mapping[str, Tensor], parameters: Sequence[str]) -> float:
    """Share of the weights of `parameters` that is out, of those with a mask; 0 where none has one."""
    known = [masks[name] for name in parameters if name in masks]
    return 1 - sum(int(mask.sum()) for mask in known) / sum(mask.numel() for mask in known) if known else 0.0
