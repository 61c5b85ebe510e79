"""Batch norms of an exported graph become a part of the convolutions before them."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from evoprune.tracing.graph import export

_CONVOLUTIONS = {
    getattr(getattr(torch.ops.aten, name), overload)
    for name in ("conv1d", "conv2d", "conv3d")
    for overload in ("default", "padding")
}
_BATCH_NORM = torch.ops.aten.batch_norm.default


def fold_batch_norms(program: torch.export.ExportedProgram, example: Tensor) -> torch.export.ExportedProgram:
    """The same function with fewer layers, in eval mode.

    A norm is folded where it reads a convolution that nothing else reads: weight * gamma / sqrt(var + eps), and the
    bias that follows (Jacob et al. 2018). Other norms stay.

    Args:
        program: from `evoprune.tracing.graph.export`, of any batch size.
        example: images, as it was exported with.
    """
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    for number, norm in enumerate([node for node in module.graph.nodes if node.target is _BATCH_NORM]):
        convolution = norm.args[0]
        if _can_fold(convolution, norm):
            _fold(module, convolution, norm, f"folded_{number}")
    module.graph.eliminate_dead_code()
    _drop_unused(module)
    module.recompile()
    return export(module, example, any_batch=True)


def _can_fold(convolution: fx.Node, norm: fx.Node) -> bool:
    _, gamma, beta, mean, var, training, *_ = norm.args
    if convolution.target not in _CONVOLUTIONS or len(convolution.users) > 1 or training:
        return False
    tensors = [*convolution.args[1:3], gamma, beta, mean, var]
    are_stored = all(node is None or (isinstance(node, fx.Node) and node.op == "get_attr") for node in tensors)
    return are_stored and mean is not None and var is not None


def _fold(module: fx.GraphModule, convolution: fx.Node, norm: fx.Node, name: str) -> None:
    """Give the convolution weights of its own: another one may share those that it has."""
    images, weight, bias, *rest = (*convolution.args, None)[: max(3, len(convolution.args))]
    kernel, shift = _tensor(module, weight), _tensor(module, bias)
    assert kernel is not None
    gamma, beta, mean, var = (_tensor(module, node) for node in norm.args[1:5])
    assert mean is not None and var is not None
    scale = torch.rsqrt(var + float(norm.args[7]))  # type: ignore[arg-type]
    scale = scale if gamma is None else scale * gamma
    moved = -mean if shift is None else shift - mean
    tensors = {
        "weight": kernel * scale.reshape(-1, *[1] * (kernel.dim() - 1)),
        "bias": moved * scale + (0 if beta is None else beta),
    }
    with module.graph.inserting_before(convolution):
        nodes = []
        for leaf, value in tensors.items():
            module.register_parameter(f"{name}_{leaf}", nn.Parameter(value.float(), requires_grad=False))
            nodes.append(module.graph.get_attr(f"{name}_{leaf}"))
    convolution.args = (images, *nodes, *rest)
    norm.replace_all_uses_with(convolution)
    module.graph.erase_node(norm)


def _tensor(module: fx.GraphModule, node: Any) -> Tensor | None:
    """The parameter or buffer that a node reads, in float64."""
    if node is None:
        return None
    found: Any = module
    for part in node.target.split("."):
        found = getattr(found, part)
    return found.detach().double()


def _drop_unused(module: fx.GraphModule) -> None:
    """Parameters that no node reads any more would be exported too."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
