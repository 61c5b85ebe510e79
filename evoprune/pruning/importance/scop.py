"""SCOP (Tang et al., NeurIPS 2020): a channel matters as far as its real features beat those of a knockoff image."""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from evoprune.common.errors import LOSS_NOT_FINITE, TrainingError, UserError
from evoprune.common.ranks import spearman
from evoprune.common.seeds import derive_seed
from evoprune.config import ScopConfig
from evoprune.data.batches import Steps
from evoprune.data.tensors import Data
from evoprune.networks.build import layer_module
from evoprune.networks.draws import seeded
from evoprune.pruning.importance.aggregate import Importance, LayerScores, relative
from evoprune.pruning.importance.knockoffs import KNOCKOFFS, MOST_VALUES, Knockoff
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.space.groups import ChannelGroup, Layer
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace

_BETAS = (0.5, 0.9)
_SATURATION = 0.01
_LEAST_WAY = 0.2  # an Adam step is about as long as the learning rate, and from the start to either end it is 0.5


def scop_scores(space: SearchSpace, network: nn.Module, data: Data, options: ImportanceOptions) -> Importance:
    """Scores |gamma| (2k - 1) of the channels of every controlled layer; negative where the knockoff does better.

    Args:
        space: the search space of `network`.
        network: on the device of `options.compute`; left as it is, to the bit.
        data: the training split is used, augmented as in training.
        options: `config.scop` says how long is trained, how fast, and with which knockoffs; the seed decides the order
            of images, their augmentation and their knockoffs.

    Returns:
        The scores as shares of their layer's mean, with k and gamma (the weights of the batch norm that follows) of
        every channel.

    Raises:
        UserError: what `check_scop` finds, or a convolution that is none of torch.nn.
        TrainingError: the loss was not finite.
    """
    started, config = time.monotonic(), options.config.scop
    layers = check_scop(space, config)
    scales = learn_scales(layers, network, data, options)
    gammas = {layer.name: _gamma(network, layer) for layer in layers}
    scores = {name: np.abs(gammas[name]) * (2 * scale - 1) for name, scale in scales.items()}
    num_steps = scop_steps(config, data).number
    facts = {
        **config.model_dump(mode="json"),
        "steps": num_steps,
        "seconds": round(time.monotonic() - started, 1),
        **_facts(scales, scores, gammas),
    }
    parts = {"k": scales, "gamma": gammas}
    return Importance(relative(scores), facts, parts=parts, warnings=_warnings(config, num_steps))


def _warnings(config: ScopConfig, num_steps: int) -> tuple[str, ...]:
    if num_steps * config.lr >= _LEAST_WAY:
        return ()
    return (
        f"importance.scop: {num_steps} steps of {config.lr:g} leave every scale near its start, and say little; "
        "raise importance.scop.epochs",
    )


def check_scop(space: SearchSpace, config: ScopConfig) -> list[Layer]:
    """The layers that get knockoffs, where there are such and the knockoffs can be made.

    Raises:
        UserError: a segment that no convolution with a batch norm writes to, or images too large for their knockoffs.
    """
    values = space.parameters["in_channels"] * math.prod(space.height_width)
    if config.knockoff == "gaussian" and values > MOST_VALUES:
        raise UserError(
            f"importance.scop.knockoff: gaussian takes images of at most {MOST_VALUES:,} values (height x width x "
            f"channels), these have {values:,}; use derangement"
        )
    return controlled_layers(space)


def controlled_layers(space: SearchSpace) -> list[Layer]:
    """The convolutions that get knockoffs: those of the blocks, not the stem and not the shortcuts, as in the paper.

    The stem reads the image. A shortcut runs beside others: its input is read, and its output is written, by other
    layers too, where a convolution inside a block has one end to itself. Where only a stem or a shortcut writes to a
    group of tied segments it counts as well, for every channel needs a score.

    Raises:
        UserError: a segment that no convolution with a batch norm writes to.
    """
    with_norm = [layer for layer in space.layers if layer.kind == "conv" and layer.norm is not None]
    with_norm = [layer for layer in with_norm if (space.output_bits(layer) >= 0).any()]
    chosen = [layer for layer in with_norm if not _reads_image(layer) and not _is_shortcut(layer, space)]
    for group in space.groups:
        if not any(_writes(space, layer, group) for layer in chosen):
            writers = [layer for layer in with_norm if _writes(space, layer, group)]
            if not writers:
                raise UserError(
                    f"importance scop needs a batch norm behind the layers that write to {', '.join(group.segments)} "
                    f"of {space.name}, which have none; use magnitude"
                )
            chosen += writers
    return [layer for layer in space.layers if layer in chosen]


def _reads_image(layer: Layer) -> bool:
    return layer.inputs in ("image", None)


def _writes(space: SearchSpace, layer: Layer, group: ChannelGroup) -> bool:
    bits = space.output_bits(layer)
    return any(((bits >= part.start) & (bits < part.stop)).any() for part in group.slices)


def _is_shortcut(layer: Layer, space: SearchSpace) -> bool:
    others = [other for other in space.layers if other is not layer]
    return any(other.inputs == layer.inputs for other in others) and any(
        other.outputs == layer.outputs for other in others
    )


def learn_scales(layers: list[Layer], network: nn.Module, data: Data, options: ImportanceOptions) -> dict[str, Scores]:
    """Weights k of the real features, in [0, 1], one per channel of `layers`, trained with all else frozen.

    A batch is its real images, then their knockoffs; batch norms see both halves. Works on a copy of the network, whose
    running statistics are those of no data.

    Raises:
        UserError: a convolution that is none of torch.nn.
        TrainingError: the loss was not finite.
    """
    config = options.config.scop
    network = copy.deepcopy(network).to(memory_format=torch.channels_last).requires_grad_(False).train()
    scales = {layer.name: _attach_scale(convolution_of(network, layer)) for layer in layers}
    optimizer = torch.optim.Adam(scales.values(), lr=config.lr, betas=_BETAS)
    with seeded(derive_seed(options.seed, "network")):
        for step, images, labels, knockoff in _batches(data, config, options.seed):
            with options.compute.autocast():
                logits = network(torch.cat((images, knockoff.images))).float()
            optimizer.zero_grad()
            _loss(logits, labels, knockoff, config.loss_on_knockoff).backward()
            optimizer.step()
            _clamp(scales)
            options.meter.update(step + 1)
    learnt = {name: _values(scale) for name, scale in scales.items()}
    if not all(np.isfinite(values).all() for values in learnt.values()):
        raise TrainingError(LOSS_NOT_FINITE)
    return learnt


def convolution_of(network: nn.Module, layer: Layer) -> _ConvNd:
    """The module of a layer that gets knockoffs; raises UserError where it is none of torch.nn's convolutions."""
    module = layer_module(network, layer.name)
    if not isinstance(module, _ConvNd):
        came = "no module" if module is None else f"of class {type(module).__name__}"
        raise UserError(
            f"importance scop takes convolutions of torch.nn as modules, but {layer.name} is {came}; use magnitude"
        )
    return module


def _attach_scale(conv: _ConvNd) -> Tensor:
    """Mix the two halves of what `conv` puts out by a new scale of 0.5, shape (channels, 1, 1) for images."""
    ones = [1] * len(conv.kernel_size)
    scale = torch.full((conv.out_channels, *ones), 0.5, device=conv.weight.device, requires_grad=True)

    def mix(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        real, knockoff = output.chunk(2)
        mixed = knockoff + scale * (real - knockoff)  # in float32, as the scale is
        return torch.cat((mixed.to(output.dtype), knockoff))

    conv.register_forward_hook(mix)
    return scale


def scop_steps(config: ScopConfig, data: Data) -> Steps:
    """The steps of the training of the scales."""
    return Steps(len(data.train), config.batch_size, config.epochs)


def _batches(data: Data, config: ScopConfig, seed: int) -> Iterator[tuple[int, Tensor, Tensor, Knockoff]]:
    """Number of the step, images, labels and knockoffs of every step of the training."""
    steps = scop_steps(config, data)
    examples = (images for _, images, _ in steps.batches(data, derive_seed(seed, "examples"), 0))
    make = KNOCKOFFS[config.knockoff](examples)
    rng = torch.Generator().manual_seed(derive_seed(seed, "knockoffs"))
    for epoch in range(steps.num_epochs):
        for step, images, labels in steps.batches(data, seed, epoch):
            yield step, images, labels, make(images, rng)


def _loss(logits: Tensor, labels: Tensor, knockoff: Knockoff, on_knockoff: bool) -> Tensor:
    if not on_knockoff:
        return F.cross_entropy(logits[: len(labels)], labels)
    assert knockoff.sources is not None, "these knockoffs have no labels"
    return F.cross_entropy(logits, torch.cat((labels, labels[knockoff.sources])))


@torch.no_grad()
def _clamp(scales: Mapping[str, Tensor]) -> None:
    for scale in scales.values():
        scale.clamp_(0, 1)


def _gamma(network: nn.Module, layer: Layer) -> Scores:
    assert layer.norm is not None
    norm = network.get_submodule(layer.norm)
    weight = getattr(norm, "weight", None)
    return _values(weight) if isinstance(weight, Tensor) else np.ones(convolution_of(network, layer).out_channels)


def _values(tensor: Tensor) -> Scores:
    return tensor.detach().flatten().double().cpu().numpy()


def _facts(scales: LayerScores, scores: LayerScores, gammas: LayerScores) -> dict[str, Any]:
    """How far the scores say more than |gamma| does: they do not where k has reached an end of its range."""
    layers: dict[str, dict[str, float | None]] = {}
    for name, scale in scales.items():
        correlation = spearman(scores[name], np.abs(gammas[name]))
        rounded = None if correlation is None else round(correlation, 4)
        layers[name] = {**_saturation(scale), "spearman_with_gamma": rounded}
    every = np.concatenate(list(scales.values()))
    correlations = [row["spearman_with_gamma"] for row in layers.values() if row["spearman_with_gamma"] is not None]
    return {
        "k_mean": round(float(every.mean()), 4),
        "k_std": round(float(every.std()), 4),
        **_saturation(every),
        "mean_spearman_with_gamma": round(float(np.mean(correlations)), 4) if correlations else None,
        "layers": layers,
    }


def _saturation(scales: Scores) -> dict[str, float]:
    high, low = (scales > 1 - _SATURATION).mean(), (scales < _SATURATION).mean()
    return {"share_k_above_0.99": round(float(high), 4), "share_k_below_0.01": round(float(low), 4)}
