"""Fused layers for any network: its graph is rewritten, so that `conv_norm_relu` does what several modules did.

The graph is that of torch.fx. What cannot be rewritten runs as it is.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from evoprune.networks.build import NETWORKS
from evoprune.networks.device import Compute
from evoprune.networks.draws import generator_states
from evoprune.networks.fused_layers import conv_norm_relu

_RELUS = {F.relu, torch.relu, torch.relu_, F.relu_, "relu", "relu_"}
_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_FRESH = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
Plan = tuple[nn.Conv2d, nn.BatchNorm2d, bool]


@contextmanager
def fused(network: nn.Module, compute: Compute) -> Iterator[bool]:
    """Have a network run with fused layers while this lasts, where that is faster: on a CPU in bfloat16.

    It stays the same module with the same parameters. It computes the same, but for rounding.

    Yields:
        Whether something is fused now that was not before.
    """
    is_fused = "forward" in vars(network)  # by whoever measures all of it
    forwards = _forwards(network) if compute.device.type == "cpu" and compute.bf16 and not is_fused else None
    if forwards is None:
        yield False
        return
    training, scoring = forwards
    network.forward = lambda x: (training if network.training else scoring)(x)
    try:
        yield True
    finally:
        del network.forward


def _forwards(network: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """What the network does in training and in eval mode, fused; None where it cannot be read or nothing fuses."""
    if isinstance(network, tuple(NETWORKS.values())):  # these call fused layers themselves
        return None
    mode = network.training
    try:
        graphs = [_rewritten(network.train(training)) for training in (True, False)]
    except Exception:  # torch.fx raises errors of many kinds, and the network's own code does
        return None
    finally:
        network.train(mode)
    return None if None in graphs else (graphs[0], graphs[1])  # type: ignore[return-value]


class _Tracer(fx.Tracer):
    """Reads `x += y` as what it is. torch.fx reads `x = x + y`, which is another thing where x has a second name."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class _Proxy(fx.Proxy):
    def __iadd__(self, other: Any) -> Any:
        return self._write(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._write(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._write(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._write(operator.itruediv, other)

    def _write(self, target: Callable[[Any, Any], Any], other: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (self, other), {})


def _rewritten(network: nn.Module) -> nn.Module | None:
    """The network in its present mode as a graph with fused layers."""
    before, modules = generator_states(), dict(network.named_modules())
    graph = _traced(network)
    if generator_states() != before:  # what its own code has drawn would be the same in every step
        return None
    if graph is None or any(_writes_attribute(node, modules) for node in graph.nodes):
        return None  # what is computed from buffers alone would be that of now for ever
    for node in [node for node in graph.nodes if node.op == "call_module"]:
        if type(modules[str(node.target)]) is nn.Identity:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    nodes = {node: index for index, node in enumerate(graph.nodes)}
    norms = [node for node in nodes if _is_norm(node, modules)]
    for node in norms:
        _fuse(graph, node, modules, nodes)
    graph.lint()
    return fx.GraphModule(network, graph) if norms else None


def _traced(network: nn.Module) -> fx.Graph | None:
    """The graph of a network, whose buffers stay as they are; None where its forward writes one while it is read."""
    kept = [(buffer, buffer._version, buffer.clone()) for buffer in network.buffers()]
    changed = False
    try:
        graph = _Tracer().trace(network)
    finally:
        for buffer, version, value in kept:
            if buffer._version != version:
                buffer.copy_(value)
                changed = True
    return None if changed else graph


def _writes_attribute(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    written = node.args[0] if node.args else None
    return node.op != "call_module" and _is_in_place(node, modules) and getattr(written, "op", "") == "get_attr"


def _is_norm(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node is a batch norm that alone reads a convolution."""
    if node.op != "call_module" or type(modules[str(node.target)]) is not nn.BatchNorm2d:
        return False
    conv = node.args[0]
    is_conv = isinstance(conv, fx.Node) and conv.op == "call_module" and type(modules[str(conv.target)]) is nn.Conv2d
    return is_conv and len(conv.users) == 1 and len(conv.args) == 1  # type: ignore[union-attr]


def _fuse(graph: fx.Graph, norm: fx.Node, modules: dict[str, nn.Module], places: dict[fx.Node, int]) -> None:
    """Replace a convolution and its norm, with what follows them: an addition and ReLU, or ReLU."""
    conv, last, residual = norm.args[0], norm, None
    assert isinstance(conv, fx.Node)
    addition = _only_user(last)
    if addition is not None and _is_call(addition, _ADDS, modules):
        others = [one for one in addition.args if one is not norm]
        if _is_in_place(addition, modules) and addition.args[0] is not norm:
            others = []  # the sum is to stand in the addend, where something else may read it
        if len(addition.args) == 2 and not addition.kwargs and len(others) == 1 and isinstance(others[0], fx.Node):
            last, residual = addition, others[0]
    relu = _only_user(last)
    with_relu = relu is not None and _is_call(relu, _RELUS, modules)
    end = relu if with_relu and relu is not None else last
    if _changes_between(conv, end, (norm, last, end), modules):
        return
    plan = modules[str(conv.target)], modules[str(norm.target)], with_relu
    spare = residual is not None and not _may_overwrite(residual, conv, last, modules, places)
    with graph.inserting_before(end):
        new = graph.call_function(_Fused(plan, spare), (conv.args[0], *([residual] if residual is not None else [])))
    places[new] = places[end]
    end.replace_all_uses_with(new)
    for node in dict.fromkeys((end, last, norm, conv)):
        graph.erase_node(node)


class _Fused:
    """`conv_norm_relu` of given modules, as a function of a graph."""

    def __init__(self, plan: Any, spare: bool):
        self._plan, self._spare = plan, spare
        self.__name__ = self.__qualname__ = "conv_norm_relu"
        self.__module__ = __name__

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        conv, norm, relu = self._plan
        if residual is not None and self._spare and not torch.is_grad_enabled():
            residual = residual.clone()  # the sum is written over it, and something else will need it
        return conv_norm_relu(conv, norm, x, residual, relu)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_call(node: fx.Node, targets: set[Any], modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return targets is _RELUS and type(modules[str(node.target)]) is nn.ReLU
    return node.op in ("call_function", "call_method") and node.target in targets


def _changes_between(first: fx.Node, end: fx.Node, own: tuple[fx.Node, ...], modules: dict[str, nn.Module]) -> bool:
    """Whether something is computed in place between a convolution and where the fused layer would stand."""
    node = first.next
    while node is not end:
        if node not in own and _is_in_place(node, modules):
            return True
        node = node.next
    return False


def _is_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    by_argument = bool(node.kwargs.get("inplace")) or "out" in node.kwargs
    return by_argument or name.endswith("_") or node.target in _IN_PLACE


def _may_overwrite(
    residual: fx.Node, conv: fx.Node, addition: fx.Node, modules: dict[str, nn.Module], places: dict[fx.Node, int]
) -> bool:
    """Whether an addend is a tensor of its own that nothing needs afterwards, nor the convolution it is added to."""
    others = [user for user in residual.users if user is not addition]
    return _is_own(residual, modules) and all(
        user is not conv and _is_own(user, modules) and places[user] <= places[addition] for user in others
    )


def _is_own(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether what a node computes shares no memory with anything: it is no view."""
    is_fresh = node.op == "call_module" and isinstance(modules[str(node.target)], _FRESH)
    return is_fresh or isinstance(node.target, _Fused)
