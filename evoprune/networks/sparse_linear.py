"""Linear layers whose weights are stored and multiplied as compressed sparse rows (CSR)."""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError, reason_of


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


def to_csr(network: nn.Module, names: Iterable[str]) -> dict[str, list[int]]:
    """Replace linear layers in place, under all names that each has.

    Returns:
        What `with_csr` must know: of each name outputs, inputs, and weights that are not zero.
    """
    known = {}
    for linear in [network.get_submodule(name) for name in names]:
        assert isinstance(linear, nn.Linear)
        layer = CsrLinear.of(linear)
        modules = dict(network.named_modules(remove_duplicate=False))
        for name in [name for name, module in modules.items() if module is linear]:
            network.set_submodule(name, layer)
            known[name] = [layer.out_features, layer.in_features, layer.values.numel()]
    return known


@torch.no_grad()
def csr_fault(network: nn.Module, name: str, example: Tensor) -> str | None:
    """What a network raises with a linear layer as sparse rows, as where its forward reads the layer's weight itself.

    Args:
        network: in eval mode. It is left as it is.
        name: of the layer.
        example: an input, shape (batch, channels, height, width), on the network's device.

    Returns:
        None where the network runs.
    """
    copied = copy.deepcopy(network)
    to_csr(copied, [name])
    try:
        copied(example)
    except Exception as error:
        return f"{type(error).__name__}: {reason_of(error)}"
    return None


def with_csr(network: nn.Module, known: Any) -> None:
    """Replace linear layers in place by sparse ones that have no values yet; `known` is what `to_csr` returned.

    Raises:
        UserError: it is not.
    """
    modules = network.named_modules(remove_duplicate=False)
    linears = {name: module for name, module in modules if isinstance(module, nn.Linear)}
    if not isinstance(known, dict) or not all(_is_sound(linears.get(name), sizes) for name, sizes in known.items()):
        raise UserError(
            f"csr names linear layers with their outputs, inputs and non-zero weights; got {str(known)[:100]}"
        )
    layers: dict[nn.Linear, CsrLinear] = {}
    for name, (outputs, inputs, nonzero) in known.items():
        linear = linears[name]
        if linear not in layers:
            layers[linear] = CsrLinear((outputs, inputs), nonzero, linear.bias is not None)
        network.set_submodule(name, layers[linear])


def check_csr(network: nn.Module) -> None:
    """Check the indices of loaded sparse layers: a multiplication believes them, and would read outside of the matrix.

    Raises:
        UserError: indices that are no CSR matrix.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, CsrLinear):
            try:
                layer.weight(check=True)
            except RuntimeError as error:
                raise UserError(f"damaged weights: {name}: {str(error).splitlines()[0]}") from None


def _is_sound(linear: nn.Linear | None, sizes: Any) -> bool:
    if linear is None or not isinstance(sizes, list) or [type(size) for size in sizes] != [int] * 3:
        return False
    outputs, inputs, nonzero = sizes
    fits = 0 < outputs <= linear.out_features and 0 < inputs <= linear.in_features
    return fits and 0 <= nonzero <= outputs * inputs


def check_dense(network: nn.Module) -> None:
    """Refuse a network with layers that are stored as sparse rows: no exporter takes them.

    Raises:
        UserError: names them.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, CsrLinear)]
    if names:
        raise UserError(
            f"stored as sparse rows, which no exporter takes: {', '.join(names)}; delete the transformed folder, and "
            "`evoprune transform RUN --set weights.csr_from=1` leaves them dense"
        )
