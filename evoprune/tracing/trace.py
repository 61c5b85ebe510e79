"""A network -> its channel table."""

import copy
from dataclasses import replace

from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.space.table import ChannelTable
from evoprune.tracing.graph import Graph, export, read_graph, walk
from evoprune.tracing.widths import pin_fixed_widths


def trace_channels(network: nn.Module, example: Tensor) -> ChannelTable:
    """Follow the channels of a convolutional network through its graph in eval mode.

    What an operator touches that is not known is pinned: it stays, and `pins` says why. The same holds for what the
    network's own code needs at a fixed width.

    Args:
        network: any module that takes one tensor. It is left as it is.
        example: an input, shape (batch, channels, height, width). Costs are those of this size.

    Returns:
        The channel table.

    Raises:
        UserError: `torch.export` cannot read the network, it does not return one tensor of logits, or a copy of it is
            no network of its own.
    """
    copied = copy.deepcopy(network).eval()
    graph = read_graph(copied, example)
    _check_own(graph, network)
    if graph.unused:
        graph = _with_training_heads(graph, copied, example)
    return pin_fixed_widths(graph, copied, example)


def _check_own(graph: Graph, network: nn.Module) -> None:
    """Refuse a network of which a copy, whose graph this is, computes with parameters of the network itself."""
    names = {value.data_ptr(): name for name, value in network.named_parameters() if value.numel()}
    for constant in graph.constants:
        if constant.data_ptr() in names:
            kind, name = type(network).__name__, names[constant.data_ptr()]
            raise UserError(
                f"a copy of {kind} must compute with its own parameters, but computes with {name} of the network that "
                "it was copied from: a function that is stored in the network, such as a lambda over self, holds on to "
                "it; make that function a method"
            )


def _with_training_heads(graph: Graph, network: nn.Module, example: Tensor) -> Graph:
    """The graph with what only runs in training, such as auxiliary classifiers: it must fit the narrow network too.

    The modules that hold such parts are told that they train, and nothing else is. What is added costs nothing.

    Args:
        graph: of the network in eval mode, where some parameters are not used.
        network: in eval mode; its modules that hold such parts are in training mode afterwards, if it can be read so.
        example: an input.

    Raises:
        UserError: a layer that runs in eval mode only. No graph has it and those that only train.
    """
    holders = [network.get_submodule(name) for name in _holders(graph)]
    for module in holders:
        module.training = True
    try:
        whole = walk(export(network, example), network, example)
    except UserError:  # it cannot train at this size, so nothing is known of these parts
        for module in holders:
            module.training = False
        return graph
    names = {note.name for note in graph.notes.layers}
    if lost := names - {note.name for note in whole.notes.layers}:
        raise UserError(
            f"a layer that runs in eval mode must run in training too where other layers only train, but {min(lost)} "
            f"does not; have the forward of {type(network).__name__} do the same in both modes"
        )
    whole.notes.layers = [
        note if note.name in names else replace(note, kernel=0, areas=(0, 0), has_bias=False)
        for note in whole.notes.layers
    ]
    return whole


def _holders(graph: Graph) -> set[str]:
    """Modules of which one part is used and another is not: the innermost ones around each unused parameter."""
    used = {name for name, (_, is_parameter) in graph.parameters.items() if is_parameter} - set(graph.unused)
    found = set()
    for name in graph.unused:
        module = name.rpartition(".")[0]
        while module and not any(other.startswith(f"{module}.") for other in used):
            module = module.rpartition(".")[0]
        found.add(module)
    return found
