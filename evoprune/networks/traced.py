"""Networks whose search space is read from themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from evoprune.common.errors import UserError
from evoprune.networks.sources import build_source, source_name
from evoprune.space.traced import TracedSpace, layers_of
from evoprune.tracing.trace import trace_channels

_UNKNOWN: Mapping[str, Any] = {"source": "", "arguments": {}, "stem": "imagenet"}


def trace_search_space(
    network: nn.Module, example: Tensor, spec: Mapping[str, Any] | None = None, name: str | None = None
) -> TracedSpace:
    """Read the search space of a convolutional network from the network itself.

    Args:
        network: any module that takes images and returns logits. It is left as it is.
        example: an input, shape (batch, channels, height, width). Costs are those of this size.
        spec: where the network comes from, as `evoprune.networks.sources.source_spec` says it. Without it a saved model
            does not know, and `load_model` must be told.
        name: of the search space; by default that of the network's class.

    Returns:
        The search space, for `slim_network`, `compute_costs` and all else.

    Raises:
        UserError: a network that cannot be read, that does not take such images, whose output is not one tensor of
            logits, or of which nothing can be pruned.
    """
    name = name or type(network).__name__.lower()
    _check_modules(network, name)
    num_classes = _num_logits(network, example, name, training=False)
    table = trace_channels(network, example)
    if not table.segments:
        reasons = "; ".join(dict.fromkeys(pin.reason for pin in table.pins)) or "it has no convolution"
        raise UserError(f"{name}: nothing of it can be pruned: {reasons}")
    height, width = example.shape[2:]
    shape = {"num_classes": num_classes, "in_channels": example.shape[1]}
    parameters = {**shape, "image_size": height if height == width else (height, width)}
    known = {**_UNKNOWN, **shape} if spec is None else dict(spec)
    return TracedSpace(name, known, table.segments, layers_of(table), parameters, table)


def read_network(spec: Mapping[str, Any], height_width: tuple[int, int]) -> TracedSpace:
    """Build the network that `source_spec` described, and read its search space at images of this size.

    Raises:
        UserError: what `build_source` and `trace_search_space` find, or another number of classes than the data have.
    """
    with torch.random.fork_rng(devices=[]):
        network, name = build_source(spec), source_name(spec["source"])
    example = torch.zeros(2, spec["in_channels"], *height_width)
    _check_modules(network, name)
    _num_logits(network, example, name, training=True)
    space = trace_search_space(network, example, spec, name)
    if space.parameters["num_classes"] != spec["num_classes"]:
        raise UserError(
            f"network: {name} has {space.parameters['num_classes']} outputs, the data have {spec['num_classes']} "
            "classes; have its function take `num_classes`, or name the number in network.arguments"
        )
    return space


def _check_modules(network: nn.Module, name: str) -> None:
    """Refuse what cannot be copied, narrowed or saved, by the name of the module that has it."""
    for path, module in network.named_modules():
        kind, where = type(module).__name__, f"{name}: {path or 'the network itself'}"
        if any(map(is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False)))):
            raise UserError(f"{where} is a {kind}, which has no weights yet; give the layer its number of inputs")
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise UserError(
                    f"{where} keeps {key}, which was computed from parameters and cannot be copied; in place of "
                    "torch.nn.utils.weight_norm take torch.nn.utils.parametrizations.weight_norm"
                )
    if extra := [key for key, value in network.state_dict().items() if not isinstance(value, Tensor)]:
        raise UserError(f"{name}: a model is saved as tensors, but its state has {extra[0]}; have it in a buffer")


@torch.no_grad()
def _num_logits(network: nn.Module, example: Tensor, name: str, training: bool) -> int:
    """How many logits a network returns, in training or in eval mode; it is left as it is."""
    modes = {module: module.training for module in network.modules()}
    statistics = {key: value.clone() for key, value in network.named_buffers()}
    images = example if len(example) > 1 else example.repeat(2, 1, 1, 1)
    try:
        returned = network.train(training)
        output = network(images)
    except Exception as error:
        size = "x".join(map(str, example.shape[1:]))
        raise UserError(f"{name} cannot take images of {size}: {type(error).__name__}: {error}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
        for key, value in network.named_buffers():
            if not torch.equal(value, statistics[key]):  # into an expanded one, nothing can be copied
                value.copy_(statistics[key])
    if returned is not network:
        raise UserError(
            f"{name}: train() must return the network, as torch.nn.Module.train does; end it with return self"
        )
    if not isinstance(output, Tensor) or output.shape[:1] + output.shape[2:] != (len(images),):
        came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"{name} must return one tensor of logits, shape (batch, classes){', in training too' * training}; got "
            f"{came}; turn auxiliary outputs off in network.arguments"
        )
    return int(output.shape[1])
