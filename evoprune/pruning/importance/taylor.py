"""Importance from gradients."""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.data.batches import batches
from evoprune.data.tensors import Data
from evoprune.networks.device import Compute
from evoprune.pruning.importance.aggregate import LayerScores
from evoprune.pruning.importance.magnitude import outputs_first, writers
from evoprune.space.space import Layer, SearchSpace

_TAYLOR_BATCH = 128


def taylor_scores(space: SearchSpace, network: nn.Module, data: Data, num_images: int, compute: Compute) -> LayerScores:
    """First-order Taylor importance (Molchanov et al. 2019): mean over batches of (sum of gradient times weight)^2.

    The sum is over the parameters that vanish with a channel where the network ends it: scale and shift of its batch
    norm, or its filter where no norm follows. (With a norm behind it in training mode a filter's own sum is always 0,
    as scaling the filter changes nothing.) Works on a copy of the network, in eval mode.

    Args:
        space: the search space of `network`.
        network: the full network, on `compute.device`; left as it is.
        data: the training split is used, unaugmented.
        num_images: how many images, at even steps over the split.
        compute: device and precision.
    """
    network = copy.deepcopy(network).eval().requires_grad_(True)
    parameters = {layer.name: _ending(network, layer) for layer in writers(space, network)}
    modules = {name: network.get_submodule(name) for name in parameters}
    flat = [parameter for group in parameters.values() for parameter in group]
    totals: dict[str, Tensor] = {}
    num_batches = 0
    for loss in _losses(network, data, num_images, compute) if flat else ():
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
        for name, group in parameters.items():
            pairs = [(value, found) for value in group if (found := next(gradients)) is not None]
            products = [outputs_first(modules[name], found * value.detach()) for value, found in pairs]
            if products:  # a layer that runs in training only has no gradient, and no score
                rows = torch.cat([each.reshape(len(each), -1) for each in products], dim=1)
                totals[name] = totals.get(name, 0) + rows.double().sum(dim=1).cpu() ** 2
        num_batches += 1
    return {name: total.numpy() / num_batches for name, total in totals.items()}


def _ending(network: nn.Module, layer: Layer) -> list[nn.Parameter]:
    """The parameters of the norm behind a layer, or of the layer where there is none or it has no parameters."""
    of_norm = [] if layer.norm is None else list(network.get_submodule(layer.norm).parameters())
    return of_norm or list(network.get_submodule(layer.name).parameters())


def _losses(network: nn.Module, data: Data, num_images: int, compute: Compute) -> Iterator[Tensor]:
    split = data.train.evenly(num_images)
    for indices in batches(len(split), _TAYLOR_BATCH):
        images, labels = split.batch(indices)
        with compute.autocast():
            logits = network(data.normalise(images)).float()
        yield F.cross_entropy(logits, labels)
