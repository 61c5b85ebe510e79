"""A network -> its exported graph, and labels on the axes of every value in it."""

import logging
import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from evoprune.common.errors import UserError
from evoprune.space.table import ChannelTable
from evoprune.tracing.call import Arguments, Axes, Call, Notes, UnreadableError, Value, operator_name, sizes_of
from evoprune.tracing.operators import OPERATORS, unknown
from evoprune.tracing.tabulate import tabulate

Known = Value | list[Value] | None
_FIXED_BATCH = (
    "its forward fixes the number of images in a batch; where it says `len(x)`, write `x.shape[0]` or `x.flatten(1)`"
)
_WRAPPERS = {torch.ops.higher_order.wrap_with_autocast, torch.ops.higher_order.wrap_with_set_grad_enabled}
"""Operators that run a graph of their own: what stands under `with torch.autocast(...)`, `with torch.enable_grad()`."""


@dataclass
class Graph:
    """What a walk through a graph has found.

    Attributes:
        notes: what the rules wrote down.
        parameters: every parameter and buffer by its name, and whether it is a parameter.
        unused: names of parameters that nothing reads.
        values: every value by the name of its node.
        constants: tensors that are neither parameters nor buffers of the network.
    """

    notes: Notes = field(default_factory=Notes)
    parameters: dict[str, tuple[Value, bool]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    values: dict[str, Known] = field(default_factory=dict)
    constants: list[Tensor] = field(default_factory=list)

    def table(self) -> ChannelTable:
        """The channel table of what has been found, and pinned since."""
        return tabulate(self.notes, list(self.parameters.values()))


def export(network: nn.Module, example: Tensor, any_batch: bool = False) -> torch.export.ExportedProgram:
    """The graph of a network at the size of the example.

    Args:
        network: in the mode that is wanted.
        example: images, shape (batch, channels, height, width).
        any_batch: the graph takes batches of any size.

    Raises:
        UserError: `torch.export` cannot read the network.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")  # tells what the error tells too
    was_disabled, log.disabled = log.disabled, True
    try:
        with torch.no_grad():
            sizes = ({0: torch.export.Dim("batch")},) if any_batch else None
            return torch.export.export(network, (example,), dynamic_shapes=sizes, strict=False)
    except Exception as error:  # torch.export raises what the network's own code raises, and errors of many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        fixed = "Constraints violated (batch)" in lines[0]
        reason = _FIXED_BATCH if fixed else lines[0]
        raise UserError(f"torch.export cannot read {type(network).__name__}: {reason}") from error
    finally:
        log.disabled = was_disabled


def read_graph(network: nn.Module, example: Tensor) -> Graph:
    """Export a network and walk through its graph.

    Raises:
        UserError: `torch.export` cannot read the network, or it does not return one tensor of logits.
    """
    program = export(network, example)
    _check_logits(program, network)
    return walk(program, network, example)


def walk(program: torch.export.ExportedProgram, network: nn.Module, example: Tensor) -> Graph:
    """What the graph of an exported network says of its channels."""
    graph = Graph(constants=[value for value in program.constants.values() if isinstance(value, Tensor)])
    graph.values |= _inputs(program, network, graph)
    output = _run(program.graph_module, graph, example.shape[0])
    for value in Call(output, Arguments(output=_looked_up(output.args, graph)), (), graph.notes, 1).values():
        for axis in value.axes:
            graph.notes.labels.pin(axis, "output of the network")
    return graph


def _run(module: fx.GraphModule, graph: Graph, batch: int) -> fx.Node:
    """Label what the calls of a graph return, whose inputs are labelled; returns the node of its outputs."""
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in _WRAPPERS:
            graph.values[node.name] = _run_inner(module, node, graph, batch)
        elif node.op == "call_function":
            graph.values[node.name] = _call(node, graph, batch)
    return node


def _run_inner(module: fx.GraphModule, call: fx.Node, graph: Graph, batch: int) -> Known:
    """Label what a graph inside another one returns: the arguments that follow it are its inputs."""
    place = next(index for index, argument in enumerate(call.args) if getattr(argument, "op", "") == "get_attr")
    inner = getattr(module, str(call.args[place].target))  # type: ignore[union-attr]
    names = [node.name for node in inner.graph.nodes if node.op == "placeholder"]
    graph.values |= zip(names, _looked_up(call.args[place + 1 :], graph), strict=True)
    outputs: list[Value] = _looked_up(_run(inner, graph, batch).args[0], graph)
    return outputs


def _check_logits(program: torch.export.ExportedProgram, network: nn.Module) -> None:
    """The output must be one tensor with a row of logits for each image."""
    spec = program.call_spec.out_spec
    (outputs,) = next(node.args for node in program.graph.nodes if node.op == "output")
    assert spec is not None and isinstance(outputs, list | tuple)
    if spec.num_nodes > 1 or not outputs:
        came = f"a {spec.type.__name__} of {spec.num_leaves} values"
    elif not isinstance(outputs[-1], fx.Node):
        came = type(outputs[-1]).__name__
    elif len(sizes_of(outputs[-1])[0]) == 2:
        return
    else:
        came = f"a tensor of shape {sizes_of(outputs[-1])[0]}"
    raise UserError(
        f"a network must return one tensor of logits, of shape (images, classes), but {type(network).__name__} returns "
        f"{came}. Give a module whose forward returns the logits alone."
    )


def _inputs(program: torch.export.ExportedProgram, network: nn.Module, graph: Graph) -> dict[str, Known]:
    """Values by the name of their placeholder: labels for parameters and buffers, none for images and constants."""
    first: dict[int, str] = {}
    for known in (network.named_parameters, network.named_buffers):
        for name, tensor in known(remove_duplicate=False):
            first.setdefault(id(tensor), name)
            if first[id(tensor)] == name:
                axes = tuple(graph.notes.labels.fresh(size) if size > 1 else None for size in tensor.shape)
                value = Value(tuple(tensor.shape), axes, name)
                graph.parameters[name] = value, isinstance(tensor, nn.Parameter)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    values: dict[str, Known] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            module, _, leaf = str(spec.target).rpartition(".")
            name = first[id(getattr(network.get_submodule(module), leaf))]
            values[spec.arg.name] = graph.parameters[name][0]
            if spec.kind is InputKind.PARAMETER and not nodes[spec.arg.name].users:
                graph.unused.append(name)
        else:
            shapes = sizes_of(nodes[spec.arg.name])
            values[spec.arg.name] = Value(shapes[0], (None,) * len(shapes[0])) if shapes else None
    return values


def _looked_up(given: Any, graph: Graph) -> Any:
    """An argument with values in place of nodes."""
    if isinstance(given, fx.Node):
        return graph.values.get(given.name)
    if isinstance(given, list | tuple):
        return [_looked_up(item, graph) for item in given]
    return given


def _call(node: fx.Node, graph: Graph, batch: int) -> Known:
    """The values that a node returns."""
    if node.target is operator.getitem:
        many, index = _looked_up(node.args, graph)
        return many[index] if isinstance(many, list) else None
    call = Call(node, _arguments(node, graph), sizes_of(node), graph.notes, batch)
    rule = OPERATORS.get(operator_name(node), unknown)
    try:
        found = rule(call)
    except (
        UnreadableError,
        LookupError,
        TypeError,
        ValueError,
        AssertionError,
    ):  # a form that the rule does not foresee
        found = unknown(call)
    is_list = isinstance(node.meta.get("val"), list | tuple)
    each: list[Axes] = found if isinstance(found, list) else [found]
    if len(each) != len(call.shapes) or not all(map(_fits, each, call.shapes)):
        each = unknown(call)
    values = [Value(shape, _without_ones(call, axes)) for axes, shape in zip(each, call.shapes, strict=True)]
    return values if is_list else (values[0] if values else None)


def _arguments(node: fx.Node, graph: Graph) -> Arguments:
    """Arguments by the names of the operator's schema, its defaults too; by number where there is no schema."""
    schema = getattr(node.target, "_schema", None)
    given = {str(index): argument for index, argument in enumerate(node.args)}
    if schema is not None:
        names = [argument.name for argument in schema.arguments]
        defaults = {argument.name: argument.default_value for argument in schema.arguments}
        given = {**defaults, **dict(zip(names, node.args, strict=False))}
    return Arguments({name: _looked_up(argument, graph) for name, argument in {**given, **node.kwargs}.items()})


def _fits(axes: Axes, shape: tuple[int, ...]) -> bool:
    """Whether labels are as many as the indices of their axes."""
    return len(axes) == len(shape) and all(
        labels is None or len(labels) == size for labels, size in zip(axes, shape, strict=True)
    )


def _without_ones(call: Call, axes: Axes) -> Axes:
    """An axis of one index has no labels, so that it can be broadcast; what it had is pinned."""
    for labels in axes:
        if labels is not None and len(labels) == 1:
            call.pin(labels, "the only channel")
    return tuple(None if labels is None or len(labels) == 1 else labels for labels in axes)
