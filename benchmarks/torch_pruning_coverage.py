"""What the living peer, Torch-Pruning, makes of a CNN: how much of it it can reach, and whether its result is right.

Right means what it means for evoprune: the narrow network computes what the network with pruned weights at zero does.
"""

import copy
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

Row = dict[str, object]


def peer_row(network: nn.Module, images: Tensor, num_classes: int) -> Row:
    """Prune half of the channels of every layer but those that write the logits.

    Returns:
        `peer reach`, the share of the parameters that its groups can reach, `peer left`, the share that it left, and
        `peer difference`, the largest one between its narrow and the masked network as a share of the largest logit.
    """
    import torch_pruning as tp

    numbered = copy.deepcopy(network)
    ignored = [layer for layer in numbered.modules() if _outputs(layer) == num_classes]
    pruner = tp.pruner.BasePruner(
        numbered, images[:1], importance=tp.importance.MagnitudeImportance(p=2), ignored_layers=ignored
    )
    row: Row = {"peer": "prunes", "peer reach": round(_reach(pruner.DG, ignored, numbered), 3)}
    _number(numbered)
    pruner.step()
    with torch.no_grad():
        slim, masked = _from_numbers(numbered, network)
        logits, truth = slim(images), masked(images)
    left, of = (sum(one.numel() for one in made.parameters()) for made in (slim, network))
    return {
        **row,
        "peer left": round(left / of, 3),
        "peer difference": f"{float((logits - truth).abs().max() / truth.abs().max()):.1e}",
    }


def _outputs(layer: nn.Module) -> int:
    is_layer = isinstance(layer, nn.Linear | nn.Conv2d)
    return int(layer.weight.shape[0]) if is_layer else 0


def _reach(graph: Any, ignored: list[nn.Module], network: nn.Module) -> float:
    """The share of all parameters that stands in a row or a column that some group can take out."""
    reached: dict[int, list[set[int]]] = defaultdict(lambda: [set(), set()])
    for group in graph.get_all_groups(ignored_layers=ignored):
        for dependency, indices in group:
            side = 0 if graph.is_out_channel_pruning_fn(dependency.handler) else 1
            reached[id(dependency.target.module)][side].update(indices)
    total = sum(parameter.numel() for parameter in network.parameters())
    found = 0.0
    for layer in (*network.modules(), *network.parameters()):
        outputs, inputs = reached[id(layer)]
        if isinstance(layer, nn.Parameter):
            found += layer.numel() * len(outputs) / max(layer.shape) if outputs else 0
        elif outputs or inputs:
            own = {name: value for name, value in layer.named_parameters(recurse=False)}
            out_share, in_share = len(outputs) / _channels(layer, 0), len(inputs) / _channels(layer, 1)
            found += sum(value.numel() * (out_share if value.dim() == 1 else 1 - (1 - out_share) * (1 - in_share))
                         for value in own.values())  # fmt: skip
    return found / total


def _channels(layer: Any, side: int) -> int:
    """Channels of a layer's outputs (0) or inputs (1), whichever of its names it has for them."""
    names = (("out_channels", "out_features"), ("in_channels", "in_features"))[side]
    known = (getattr(layer, name, None) for name in (*names, "num_features", "num_channels", "num_parameters"))
    return next((int(one) for one in known if one), max(layer.weight.shape) if hasattr(layer, "weight") else 1)


def _number(network: nn.Module) -> None:
    """Every parameter and buffer holds the numbers of its elements, so that they say which are left."""
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)


def _from_numbers(numbered: nn.Module, network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The narrow network with the weights that its numbers name, and the network with all others at zero."""
    masked = copy.deepcopy(network)
    left = dict((*numbered.named_parameters(), *numbered.named_buffers()))
    for name, tensor in (*masked.named_parameters(), *masked.named_buffers()):
        numbers, flat = left[name].detach().long(), tensor.detach().flatten()
        left[name].data = flat[numbers]
        mask = torch.zeros_like(flat)
        mask[numbers.flatten()] = 1
        tensor.data = (flat * mask).reshape(tensor.shape)
    return numbered, masked
