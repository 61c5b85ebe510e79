"""Classic importance of output channels, from a network's weights or their gradients."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.compute import Compute
from evoprune.data import Data, batches
from evoprune.importance.segments import LayerScores, Scores
from evoprune.space import Layer, SearchSpace

_TAYLOR_BATCH = 128


def weight_scores(space: SearchSpace, network: nn.Module, criterion: str) -> LayerScores:
    """Scores of every layer whose output channels follow a segment, from its weights alone.

    Args:
        space: the search space of `network`.
        network: the full network.
        criterion: `l1` (Li et al. 2017), `l2`, `bn_scale` (|gamma|, Liu et al. 2017; layers with a batch norm only), or
            `geometric_median` (He et al. 2019: the sum of a filter's distances to all filters of its layer).
    """
    score = WEIGHT_CRITERIA[criterion]
    scored: dict[str, Scores] = {}
    for layer in scored_layers(space):
        norm = network.get_submodule(layer.norm) if layer.norm is not None else None
        values = score(_weight(network.get_submodule(layer.name)), norm)
        if values is not None:
            scored[layer.name] = _numpy(values)
    return scored


def taylor_scores(space: SearchSpace, network: nn.Module, data: Data, num_images: int, compute: Compute) -> LayerScores:
    """First-order Taylor importance (Molchanov et al. 2019): mean over batches of (sum of gradient times weight)^2.

    The sum is over the parameters that vanish with a channel where the network ends it: scale and shift of its batch
    norm, or its filter where no norm follows. (With a norm behind it in training mode a filter's own sum is always 0,
    as scaling the filter changes nothing.) The network stays in eval mode, and keeps its weights and gradients.

    Args:
        space: the search space of `network`.
        network: the full network, on `compute.device`.
        data: the training split is used, unaugmented.
        num_images: how many images, at even steps over the split.
        compute: device and precision.
    """
    network.eval()
    modules = {layer.name: network.get_submodule(layer.norm or layer.name) for layer in scored_layers(space)}
    parameters = {name: list(module.parameters()) for name, module in modules.items()}
    flat = [parameter for group in parameters.values() for parameter in group]
    totals = {name: torch.zeros(len(group[0]), dtype=torch.float64) for name, group in parameters.items()}
    num_batches = 0
    for loss in _losses(network, data, num_images, compute):
        gradients = iter(torch.autograd.grad(loss, flat))
        for name, group in parameters.items():
            products = [(next(gradients) * value.detach()).reshape(len(value), -1) for value in group]
            totals[name] += torch.cat(products, dim=1).double().sum(dim=1).cpu() ** 2
        num_batches += 1
    return {name: total.numpy() / num_batches for name, total in totals.items()}


def scored_layers(space: SearchSpace) -> list[Layer]:
    """The layers that write to a segment with weights of their own."""
    return [layer for layer in space.layers if layer.kind != "adapter" and layer.outputs != "classes"]


def _losses(network: nn.Module, data: Data, num_images: int, compute: Compute) -> Iterator[Tensor]:
    split = data.train.evenly(num_images)
    for indices in batches(len(split), _TAYLOR_BATCH):
        chosen = indices.to(compute.device)
        with compute.autocast():
            logits = network(data.normalise(split.images[chosen])).float()
        yield F.cross_entropy(logits, split.labels[chosen])


def _l1(weight: Tensor, norm: nn.Module | None) -> Tensor:
    return weight.flatten(1).abs().sum(dim=1)


def _l2(weight: Tensor, norm: nn.Module | None) -> Tensor:
    return weight.flatten(1).norm(dim=1)


def _bn_scale(weight: Tensor, norm: nn.Module | None) -> Tensor | None:
    return None if norm is None else _weight(norm).abs()


def _geometric_median(weight: Tensor, norm: nn.Module | None) -> Tensor:
    filters = weight.flatten(1)
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)


WEIGHT_CRITERIA: dict[str, Callable[[Tensor, nn.Module | None], Tensor | None]] = {
    "l1": _l1,
    "l2": _l2,
    "bn_scale": _bn_scale,
    "geometric_median": _geometric_median,
}


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor), f"{type(module).__name__} has no weight"
    return weight.detach().double()


def _numpy(values: Tensor) -> Scores:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
