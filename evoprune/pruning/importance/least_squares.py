"""Importance from what layers read: how much of it the channels that stay cannot make up for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.pruning.compensation import RIDGE
from evoprune.pruning.importance.aggregate import LayerScores
from evoprune.pruning.importance.magnitude import consumer_scores
from evoprune.pruning.moments import Moments
from evoprune.space.groups import ChannelGroup
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace


def activation_scores(space: SearchSpace, network: nn.Module, moments: Moments) -> LayerScores:
    """Standard deviation of each input channel times the L2 norm of the weights that read it."""
    norms = consumer_scores(space, network)
    deviations = {
        name: np.sqrt(np.diag(moments.layers[name].covariance).reshape(len(norm), -1).mean(axis=1).clip(min=0))
        for name, norm in norms.items()
        if name in moments.layers
    }
    return {name: norms[name] * values for name, values in deviations.items()}


@torch.no_grad()
def least_squares_scores(space: SearchSpace, network: nn.Module, moments: Moments) -> LayerScores:
    """The error that each layer is left with when a channel goes, and with it all that are less important.

    In every group of channels the one goes first, again and again, whose loss its readers can best make up for with
    the channels that are left: the outputs of a layer with least squares weights change by w' [H^-1]^-1 w, where H is
    the second moment of what it reads (optimal brain surgeon for whole channels: Hassibi and Stork 1993, Dong et al.
    2017). The error is a share of the variance of the layer's outputs, each as its batch norm scales it, summed over
    the removals so far. So the last channel has the largest score.

    Args:
        space: the search space of `network`.
        network: the full network.
        moments: what its layers read; a layer that is left out there has no score.
    """
    scores: dict[str, Scores] = {}
    for group in space.groups:
        layers = [layer for layer in space.layers if layer.inputs in group.segments and layer.kind != "adapter"]
        measured = [layer for layer in layers if layer.name in moments.layers]
        if measured:
            state = [_Reader.of(network, layer.name, layer.norm, moments, group) for layer in measured]
            errors = _eliminate(state, group.width)
            scores |= {layer.name: values for layer, values in zip(measured, errors, strict=True)}
    return scores


@dataclass
class _Reader:
    """What is left of a layer while its input channels go.

    Attributes:
        weight: with what it makes up for those that are gone, shape (outputs, values), as its norm scales them.
        inverse: of the second moment of what it still reads, shape (values, values).
        energy: variance of its outputs with all inputs.
        positions: values that it reads of each channel.
        lost: the error so far, as a share of `energy`.
    """

    weight: Tensor
    inverse: Tensor
    energy: float
    positions: int
    lost: float = 0.0

    @classmethod
    def of(cls, network: nn.Module, name: str, norm: str | None, moments: Moments, group: ChannelGroup) -> "_Reader":
        weight = network.get_submodule(name).state_dict()["weight"].double().flatten(1)
        if norm is not None:
            weight = weight * _scale(network.get_submodule(norm))[:, None]
        second = weight.new_tensor(moments.layers[name].covariance)
        energy = float((weight @ second * weight).sum().clamp(min=1e-12))
        second.diagonal().add_(RIDGE * second.diagonal().mean().clamp(min=1e-12))
        return cls(weight, torch.linalg.inv(second), energy, len(second) // group.width)

    def errors(self) -> Tensor:
        """What the removal of each channel adds to `lost`, shape (channels left,)."""
        count, size = len(self.inverse) // self.positions, self.positions
        blocks = self.inverse.unflatten(0, (count, size)).unflatten(2, (count, size))
        own = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        weights = self.weight.unflatten(1, (count, size)).permute(1, 2, 0)
        return (weights * torch.linalg.solve(own, weights)).sum((1, 2)) / self.energy

    def remove(self, channel: int) -> None:
        """Let a channel go, and have the others make up for it."""
        self.lost += float(self.errors()[channel])
        gone = torch.zeros(len(self.inverse), dtype=torch.bool, device=self.inverse.device)
        gone[channel * self.positions : (channel + 1) * self.positions] = True
        spread = torch.linalg.solve(self.inverse[gone][:, gone], self.inverse[gone])
        self.weight = (self.weight - self.weight[:, gone] @ spread)[:, ~gone]
        self.inverse = (self.inverse - self.inverse[:, gone] @ spread)[~gone][:, ~gone]


def _scale(norm: nn.Module) -> Tensor:
    """By how much a batch norm in eval mode multiplies."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
    return (norm.weight / (norm.running_var + norm.eps).sqrt()).double()


def _eliminate(readers: Sequence[_Reader], width: int) -> list[Scores]:
    """For each reader its error at the removal of each channel, shape (width,); all readers lose the same channel."""
    left = list(range(width))
    scores = [np.empty(width) for _ in readers]
    while left:
        errors = torch.stack([reader.errors() for reader in readers]).sum(0)
        index = int(errors.argmin())
        channel = left.pop(index)
        for reader, own in zip(readers, scores, strict=True):
            if left:
                reader.remove(index)
                own[channel] = reader.lost
            else:
                own[channel] = reader.lost + float(reader.errors()[0])
    return scores
