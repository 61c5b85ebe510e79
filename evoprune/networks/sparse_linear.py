"""Linear layers whose weights are stored and multiplied as compressed sparse rows (CSR), and models that have some."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.common.model_files import DESCRIPTION_NAME, model_folder, read_description
from evoprune.networks import checkpoints
from evoprune.networks.build import network_from_spec


class CsrLinear(nn.Module):
    """y = W x + b, with W as its non-zero values, their columns, and where each row begins. It is not for training.

    A non-zero weight takes 8 bytes and a row 4 more, against 4 bytes for every weight of a dense layer.

    Args:
        shape: outputs and inputs.
        nonzero: how many weights are not zero.
        bias: whether b is there.
    """

    row_starts: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, shape: tuple[int, int], nonzero: int, bias: bool):
        super().__init__()
        self.out_features, self.in_features = shape
        self.register_buffer("row_starts", torch.zeros(shape[0] + 1, dtype=torch.int32))
        self.register_buffer("columns", torch.zeros(nonzero, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(nonzero))
        self.register_buffer("bias", torch.zeros(shape[0]) if bias else None)

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear) -> "CsrLinear":
        """The layer that computes what `linear` does."""
        with warnings.catch_warnings():  # that CSR is in beta
            warnings.simplefilter("ignore")
            rows = linear.weight.detach().to_sparse_csr()
        shape = (linear.out_features, linear.in_features)
        layer = cls(shape, rows.values().numel(), linear.bias is not None).to(linear.weight.device)
        layer.row_starts.copy_(rows.crow_indices())
        layer.columns.copy_(rows.col_indices())
        layer.values = rows.values().clone()
        if layer.bias is not None:
            layer.bias = linear.bias.detach().clone()
        return layer.train(linear.training)

    def weight(self, check: bool = False) -> Tensor:
        """W as a sparse tensor, shape (outputs, inputs).

        Raises:
            RuntimeError: with `check`, where the indices are no CSR matrix.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.sparse_csr_tensor(
                self.row_starts,
                self.columns,
                self.values,
                (self.out_features, self.in_features),
                check_invariants=check,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs, shape (..., outputs), of inputs of shape (..., inputs)."""
        rows = x.reshape(-1, self.in_features).to(self.values.dtype)
        out = (self.weight() @ rows.t()).t()
        return (out if self.bias is None else out + self.bias).reshape(*x.shape[:-1], self.out_features)


def to_csr(network: nn.Module, names: Iterable[str]) -> dict[str, int]:
    """Replace linear layers in place; returns how many weights of each are not zero, which `load_model` must know."""
    counts = {}
    for name in names:
        linear = network.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        layer = CsrLinear.of(linear)
        _replace(network, name, layer)
        counts[name] = layer.values.numel()
    return counts


def load_model(path: str | Path) -> nn.Module:
    """Load a model that evoprune saved: a `torch.nn.Module` in eval mode on the CPU.

    Args:
        path: the model's folder, or one of the two files in it.

    Raises:
        UserError: no model there, or a damaged one.
    """
    folder = model_folder(path)
    description = read_description(folder)
    counts = description.get("csr")
    if not counts:
        return checkpoints.load_model(folder)
    network = network_from_spec(description["network"])
    for name, count in _checked(counts, network, folder / DESCRIPTION_NAME).items():
        linear = network.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        shape = (linear.out_features, linear.in_features)
        _replace(network, name, CsrLinear(shape, count, linear.bias is not None))
    checkpoints.load_weights(network, folder)
    for name in counts:
        layer = network.get_submodule(name)
        assert isinstance(layer, CsrLinear)
        try:  # a multiplication believes the indices, and would read outside of the matrix
            layer.weight(check=True)
        except RuntimeError as error:
            raise UserError(f"{folder}: damaged weights: {name}: {str(error).splitlines()[0]}") from None
    return network.eval()


def _checked(counts: Any, network: nn.Module, source: Path) -> dict[str, int]:
    linears = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    is_sound = isinstance(counts, dict) and all(
        name in linears and type(count) is int and 0 <= count <= linears[name].weight.numel()
        for name, count in counts.items()
    )
    if not is_sound:
        raise UserError(f"{source}: csr names linear layers with their non-zero weights; got {str(counts)[:100]}")
    return dict(counts)


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)
