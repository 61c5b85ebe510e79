"""K candidates as one network: full width, pruned channels zero, all weights stacked (HFTA, Wang et al., MLSys 2021).

Channel c of candidate k is channel k * C + c, convolutions are grouped by candidate. Nothing is masked while the
network runs: where a channel's weights, scale and shift and all weights that read it are 0, its values and their
gradients are exactly 0 (ReLU and additions keep zeros), so SGD leaves them at 0. Knows layers and segments, no
architecture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from evoprune.networks.build import network_from_spec, network_spec
from evoprune.space.groups import Layer
from evoprune.space.space import Code, SearchSpace

MEMORY_FORMAT = torch.channels_last  # the one place to change if grouped bf16 convolutions prove faster otherwise


class StackedNetwork(nn.Module):
    """`size` candidates side by side; each computes, and learns, what its slim network does.

    Images go in once, logits of shape (batch, size, num_classes) come out. Its tensors stay where they are: `load`
    writes other candidates into them.
    """

    def __init__(self, space: SearchSpace, size: int, device: torch.device):
        super().__init__()
        self.space, self.size = space, size
        adapters = [layer.name for layer in space.layers if layer.kind == "adapter"]
        with torch.device("meta"):  # `load` sets every value
            network = network_from_spec({**network_spec(space), "adapters": adapters})
            for layer in space.layers:
                network.set_submodule(layer.name, _stacked_layer(network.get_submodule(layer.name), layer, size))
                if layer.norm is not None:
                    network.set_submodule(layer.norm, _stacked_norm(network.get_submodule(layer.norm), size))
        self.network = network.to_empty(device=device).to(memory_format=MEMORY_FORMAT)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, size, num_classes), of normalised images (batch, in_channels, height, width)."""
        logits: Tensor = self.network(images)
        return logits.unflatten(1, (self.size, -1))

    @torch.no_grad()
    def load(self, base: nn.Module, codes: Sequence[Code], changes: Sequence[Mapping[str, Tensor]]) -> None:
        """Become the slim networks of `codes`, `size` of them, with the weights and statistics of `base`.

        Args:
            base: the base network.
            codes: 0/1, each of shape (space.length,).
            changes: for each code the entries of the state of `base`, full width, that it has otherwise, and the
                weights of adapters.
        """
        assert len(codes) == len(changes) == self.size, f"{len(codes)} codes for {self.size} candidates"
        device = next(base.parameters()).device
        rows = torch.from_numpy(np.stack([self.space.repair(code) for code in codes])).to(device).bool()
        kept: dict[str | None, Tensor] = {segment.name: rows[:, segment.slice] for segment in self.space.segments}
        state = _stacked_state(base.state_dict(), changes)
        for layer in self.space.layers:
            target = self.network.get_submodule(layer.name)
            own = _entries_of(layer.name, state)
            if isinstance(target, _StackedAdapter):
                present = [layer.name in self.space.adapters(code) for code in codes]
                masks = kept[layer.outputs], kept[layer.inputs]
                target.load(own["weight"], masks, torch.tensor(present, device=device))
                continue
            _load_layer(target, own, (kept.get(layer.outputs), kept.get(layer.inputs)), self.size)
            if layer.norm is not None:
                norm = self.network.get_submodule(layer.norm)
                _load_norm(norm, _entries_of(layer.norm, state), kept[layer.outputs])


def _stacked_state(state: Mapping[str, Tensor], changes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Every entry of shape (candidates, ...), without a copy where all candidates have the same."""
    stacked = {name: value.expand(len(changes), *value.shape) for name, value in state.items()}
    for name in {name for own in changes for name in own}:
        stacked[name] = torch.stack([own[name] if name in own else state[name] for own in changes])
    return stacked


def _entries_of(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


class _StackedLinear(nn.Module):
    """Linear layers side by side: (batch, size * inputs) -> (batch, size * outputs)."""

    def __init__(self, size: int, inputs: int, outputs: int):
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(size * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(size * outputs))

    def forward(self, x: Tensor) -> Tensor:
        candidates = x.unflatten(1, (self.size, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.size, -1)).transpose(1, 2)
        bias = self.bias.unflatten(0, (self.size, 1, -1))
        return torch.baddbmm(bias, candidates, weight).transpose(0, 1).flatten(1)


class _StackedAdapter(nn.Conv2d):
    """1x1 convolutions of the candidates that have one; the others' selection is an identity, and never trained."""

    selection: Tensor
    trained: Tensor

    def __init__(self, size: int, inputs: int, outputs: int):
        super().__init__(size * inputs, size * outputs, 1, groups=size, bias=False)
        self.register_buffer("selection", torch.empty_like(self.weight))
        self.register_buffer("trained", torch.empty(size * outputs, 1, 1, 1, dtype=torch.bool))

    def load(self, weight: Tensor, kept: tuple[Tensor, Tensor], own: Tensor) -> None:
        """Start from `weight`; `kept` are outputs and inputs; `own` (size,) says which candidates have the layer."""
        outputs, inputs = kept
        same = torch.eye(outputs.shape[1], inputs.shape[1], device=outputs.device)[None, :, :, None, None]
        self.weight.copy_(_select(weight, outputs, inputs))
        self.selection.copy_(_select(same, outputs, inputs))
        self.trained.copy_(own[:, None].expand_as(outputs).reshape(self.trained.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, torch.where(self.trained, self.weight, self.selection), None)


def _stacked_layer(module: nn.Module, layer: Layer, size: int) -> nn.Module:
    if isinstance(module, nn.Linear):
        return _StackedLinear(size, module.in_features, module.out_features)
    assert isinstance(module, nn.Conv2d) and module.groups == 1, f"{layer.name} cannot be stacked"
    if layer.kind == "adapter":
        return _StackedAdapter(size, module.in_channels, module.out_channels)
    groups = 1 if layer.inputs == "image" else size  # all candidates see the same image
    return nn.Conv2d(
        module.in_channels * groups,
        module.out_channels * size,
        module.kernel_size,  # type: ignore[arg-type]
        module.stride,  # type: ignore[arg-type]
        module.padding,  # type: ignore[arg-type]
        module.dilation,  # type: ignore[arg-type]
        groups,
        bias=module.bias is not None,
    )


def _stacked_norm(module: nn.Module, size: int) -> nn.Module:
    assert isinstance(module, nn.BatchNorm2d)
    return nn.BatchNorm2d(size * module.num_features, module.eps, module.momentum)


def _load_layer(
    target: nn.Module, state: Mapping[str, Tensor], kept: tuple[Tensor | None, Tensor | None], size: int
) -> None:
    """Copy the kept part of a layer; of outputs and inputs, None keeps all: the image's channels, the classes."""
    weight = state["weight"]
    outputs, inputs = (
        weight.new_ones(size, number, dtype=torch.bool) if mask is None else mask
        for mask, number in zip(kept, weight.shape[1:3], strict=True)
    )
    stacked = {"weight": _select(weight, outputs, inputs)}
    if "bias" in state:
        stacked["bias"] = torch.where(outputs, state["bias"], 0).flatten()
    target.load_state_dict(stacked)


def _load_norm(target: nn.Module, state: Mapping[str, Tensor], kept: Tensor) -> None:
    """A pruned channel's norm gives 0, whatever comes in."""
    pruned: Mapping[str, float] = {"weight": 0, "bias": 0, "running_mean": 0, "running_var": 1}
    stacked = {name: torch.where(kept, state[name], value).flatten() for name, value in pruned.items()}
    target.load_state_dict({"num_batches_tracked": state["num_batches_tracked"][0], **stacked})


def _select(weight: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Weights (size, outputs, inputs, ...), masks (size, outputs) and (size, inputs) -> (size * outputs, inputs, ...).

    A selection, not a product: a pruned weight may be infinite.
    """
    kept = outputs[:, :, None] & inputs[:, None, :]
    return torch.where(kept.reshape(*kept.shape, *[1] * (weight.dim() - 3)), weight, 0).flatten(0, 1)
