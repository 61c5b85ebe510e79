"""Importance from what layers read: how much of it the channels that stay cannot make up for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.common.progress import Meter, Silent
from evoprune.pruning.compensation import RIDGE
from evoprune.pruning.importance.aggregate import LayerScores
from evoprune.pruning.importance.magnitude import consumer_scores
from evoprune.pruning.moments import Moments
from evoprune.space.groups import ChannelGroup, Layer
from evoprune.space.ranking import Scores
from evoprune.space.space import Bits, SearchSpace

_SILENT = Silent()


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
def least_squares_scores(
    space: SearchSpace, network: nn.Module, moments: Moments, meter: Meter = _SILENT
) -> LayerScores:
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
        meter: is told how many groups are done.
    """
    scores: dict[str, Scores] = {}
    norms: LayerScores | None = None
    layers_with_weights = [layer for layer in space.layers if layer.kind not in ("adapter", "depthwise")]
    for done, group in enumerate(space.groups):
        meter.update(done)
        layers = [layer for layer in layers_with_weights if _reads(space, layer, group).size]
        measured = [layer for layer in layers if layer.name in moments.layers]
        if measured:
            state = [_Reader.of(network, layer, moments, _reads(space, layer, group)) for layer in measured]
            for layer, errors in zip(measured, _eliminate(state, group.width), strict=True):
                _write(scores, space, layer, group, errors)
            continue
        norms = consumer_scores(space, network) if norms is None else norms
        for layer in (layer for layer in layers if layer.name in norms):
            _write(scores, space, layer, group, share_of_energy(norms[layer.name][_reads(space, layer, group)]))
    meter.update(len(space.groups))
    return scores


def _reads(space: SearchSpace, layer: Layer, group: ChannelGroup) -> Bits:
    """Where the channels of a group stand among a layer's inputs, shape (width, times); the group's order."""
    bits = space.input_bits(layer)
    place = np.full(space.length + 1, -1)
    for part in group.slices:
        place[part] = np.arange(group.width)
    found = place[bits]
    order = np.flatnonzero(found >= 0)
    return order[np.argsort(found[order], kind="stable")].reshape(group.width, order.size // group.width)


def _write(scores: dict[str, Scores], space: SearchSpace, layer: Layer, group: ChannelGroup, errors: Scores) -> None:
    """Note the scores, shape (width,), of the channels of a group that a layer reads, among those of all its inputs."""
    own = scores.setdefault(layer.name, np.zeros(len(space.input_bits(layer))))
    own[_reads(space, layer, group)] = errors[:, None]


def share_of_energy(norms: Scores) -> Scores:
    """What goes with each channel and all smaller ones, as a share, where nothing is known of what is read.

    Args:
        norms: of the weights that read each channel, shape (width, times).
    """
    energy = (norms**2).sum(axis=1)
    order = np.argsort(energy, kind="stable")
    shares = np.empty(len(energy))
    shares[order] = np.cumsum(energy[order]) / max(energy.sum(), 1e-12)
    return shares


@dataclass
class _Reader:
    """What is left of a layer while its input channels go.

    Attributes:
        weight: with what it makes up for those that are gone, shape (outputs, values), as its norm scales them; 0 for
            what is gone.
        inverse: of the second moment of what it still reads, shape (values, values); that of the unit matrix for what
            is gone. It is changed in place: wide layers spend their time on copies otherwise.
        energy: variance of its outputs with all inputs.
        positions: values that it reads of each channel that may go; these come first.
        channels: how many of these there are.
        lost: the error so far, as a share of `energy`.
    """

    weight: Tensor
    inverse: Tensor
    energy: float
    positions: int
    channels: int
    lost: float = 0.0

    @classmethod
    def of(cls, network: nn.Module, layer: Layer, moments: Moments, reads: Bits) -> "_Reader":
        """Of a layer; `reads` are the places, shape (channels, times), of the inputs that may go."""
        whole = network.get_submodule(layer.name).state_dict()["weight"].double()
        weight, inputs = whole.flatten(1), whole.shape[1]
        if layer.norm is not None:
            weight = weight * _scale(network.get_submodule(layer.norm)).to(weight.device)[:, None]
        second = weight.new_tensor(moments.layers[layer.name].covariance)
        energy = float((weight @ second * weight).sum().clamp(min=1e-12))
        second.diagonal().add_(RIDGE * second.diagonal().mean().clamp(min=1e-12))
        columns = np.arange(len(second)).reshape(inputs, -1)
        others = np.setdiff1d(np.arange(inputs), reads)
        order = np.concatenate([columns[reads.ravel()].ravel(), columns[others].ravel()])
        inverse = torch.linalg.inv(second)[order][:, order]
        return cls(weight[:, order], inverse, energy, reads.shape[1] * columns.shape[1], len(reads))

    def errors(self) -> Tensor:
        """What the removal of each channel adds to `lost`, shape (channels,); 0 for those that are gone."""
        count, size = self.channels, self.positions
        end = count * size
        if size == 1:
            return self.weight[:, :end].square().sum(0) / self.inverse.diagonal()[:end] / self.energy
        blocks = self.inverse[:end, :end].unflatten(0, (count, size)).unflatten(2, (count, size))
        own = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        weights = self.weight[:, :end].unflatten(1, (count, size)).permute(1, 2, 0)
        return (weights * torch.linalg.solve(own, weights)).sum((1, 2)) / self.energy

    def remove(self, channel: int) -> None:
        """Let a channel go, and have the others make up for it."""
        gone = slice(channel * self.positions, (channel + 1) * self.positions)
        spread = torch.linalg.solve(self.inverse[gone, gone], self.inverse[gone])
        self.weight.addmm_(self.weight[:, gone].clone(), spread, alpha=-1)
        self.inverse.addmm_(self.inverse[:, gone].clone(), spread, alpha=-1)
        self.weight[:, gone], self.inverse[gone], self.inverse[:, gone] = 0, 0, 0
        self.inverse[gone, gone].fill_diagonal_(1)


def _scale(norm: nn.Module) -> Tensor:
    """By how much a norm with statistics of each channel multiplies in eval mode, be it torch's or a user's own."""
    variance, weight = getattr(norm, "running_var", None), getattr(norm, "weight", None)
    if not isinstance(variance, Tensor):
        return torch.ones(1, dtype=torch.float64)
    scale = (variance + getattr(norm, "eps", 0.0)).rsqrt().double()
    return scale * weight if isinstance(weight, Tensor) else scale


def _eliminate(readers: Sequence[_Reader], width: int) -> list[Scores]:
    """For each reader its error at the removal of each channel, shape (width,); all readers lose the same channel."""
    gone = torch.zeros(width, dtype=torch.bool, device=readers[0].weight.device)
    scores = [np.empty(width) for _ in readers]
    for _ in range(width):
        errors = [reader.errors() for reader in readers]
        channel = int(torch.stack(errors).sum(0).masked_fill(gone, torch.inf).argmin())
        gone[channel] = True
        for reader, adds, own in zip(readers, errors, scores, strict=True):
            reader.lost += float(adds[channel])
            own[channel] = reader.lost
            reader.remove(channel)
    return scores
