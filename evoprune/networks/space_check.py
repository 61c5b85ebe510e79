"""A search space is held against the network that it is said to be of."""

import numpy as np
from torch import Tensor, nn

from evoprune.common.errors import UserError
from evoprune.networks.counts import count
from evoprune.space.costs import code_costs
from evoprune.space.traced import TracedSpace
from evoprune.tracing.surgery import narrow

_NUM_CODES = 3


def check_tensors(space: TracedSpace, network: nn.Module) -> None:
    """Every parameter and buffer of the network has its row, of its shape.

    Raises:
        UserError: the first row that does not fit.
    """
    rows = {row.name: row for row in space.table.tensors}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, tensor in tensors.items():
        if name not in rows:
            raise UserError(f"{space.name}: the search space has no row for {name} among `tensors`")
        row = rows.pop(name)
        sizes = [len(bits) for bits in row.bits]
        if row.groups > 1:
            sizes[1] //= row.groups
        if sizes != list(tensor.shape):
            raise UserError(
                f"{space.name}: {name} has axes of {sizes} among `tensors`, the network's are {list(tensor.shape)}"
            )
    if rows:
        raise UserError(f"{space.name}: {next(iter(rows))} stands among `tensors` and is not in the network")


def check_costs(space: TracedSpace, network: nn.Module, images: Tensor) -> None:
    """Costs are those counted on narrow networks.

    Args:
        space: the search space.
        network: in eval mode.
        images: a batch that it takes; one of them is enough.

    Raises:
        UserError: the costs differ.
    """
    rng = np.random.default_rng(0)
    for _ in range(_NUM_CODES):
        code = space.repair((rng.random(space.length) < 1 / 2).astype(np.uint8))
        try:
            counted = count(narrow(space.table, network, code), images[:1])
        except RuntimeError as error:
            raise UserError(f"{space.name}: a narrow network does not run: {error}; see the last row edited") from error
        stated = code_costs(space, code)
        for name, value in (("flops", counted.flops), ("params", counted.params)):
            if stated[name] != value:
                raise UserError(
                    f"{space.name}: a narrow network has {value:,} {name}, its search space says {stated[name]:,}; the "
                    "rows of `layers` and `tensors` must name every layer with its kernel and positions"
                )
