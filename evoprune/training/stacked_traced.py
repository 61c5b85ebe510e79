"""K candidates of any traced network as one: full width, pruned channels zero, run side by side by `torch.vmap`.

Vmap turns K convolutions into one grouped convolution, and so for every layer that it has a rule for. It is what
PyTorch's own guide to ensembles does.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.common.errors import reason_of
from evoprune.space.space import Code
from evoprune.space.traced import TracedSpace
from evoprune.tracing.surgery import in_place_of, masks_of


class StackedTraced(nn.Module):
    """`size` candidates side by side; each computes, and learns, what its slim network does.

    Images go in once, logits of shape (batch, size, num_classes) come out. Its tensors stay where they are: `load`
    writes other candidates into them.

    Args:
        space: the search space of `base`.
        base: the base network, of which the stack takes the structure, on its device.
        size: number of candidates.
    """

    def __init__(self, space: TracedSpace, base: nn.Module, size: int):
        super().__init__()
        self.space, self.size = space, size
        # A copy of the network whose tensors have the candidates as their first axis: what resets a batch norm resets
        # those of all candidates.
        self.network = _copied(base, size)
        self._masks = {
            name: torch.ones(size, *mask.shape, dtype=torch.bool, device=mask.device)
            for name, mask in masks_of(space.table, base, space.full_code()).items()
        }

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, size, num_classes), of normalised images (batch, in_channels, height, width)."""
        parameters = {
            name: value * self._masks[name] if name in self._masks else value  # no gradient for what is pruned
            for name, value in self.network.named_parameters()
        }
        tensors = {**parameters, **{name: value for name, value in self.network.named_buffers() if _is_stacked(value)}}

        def run(own: dict[str, Tensor]) -> Tensor:
            logits: Tensor = torch.func.functional_call(self.network, own, (images,))
            return logits

        stacked: Tensor = torch.vmap(run, out_dims=1, randomness="different")(tensors)
        return stacked

    @torch.no_grad()
    def load(self, base: nn.Module, codes: Sequence[Code], changes: Sequence[Mapping[str, Tensor]]) -> None:
        """Become the slim networks of `codes`, `size` of them, with the weights and statistics of `base`.

        Args:
            base: the base network.
            codes: 0/1, each of shape (space.length,).
            changes: for each code the entries of the state of `base`, full width, that it has otherwise.
        """
        assert len(codes) == len(changes) == self.size, f"{len(codes)} codes for {self.size} candidates"
        targets = dict(_tensors(self.network))
        for index, (code, own) in enumerate(zip(codes, changes, strict=True)):
            masks = masks_of(self.space.table, base, code)
            for name, mask in masks.items():
                self._masks[name][index].copy_(mask)
            for name, value in _tensors(base):
                wanted = own.get(name, value)
                if name in masks:  # a selection, not a product: a pruned weight may be infinite
                    wanted = torch.where(masks[name], wanted, 0)
                target = targets[name]
                (target[index] if _is_stacked(value) else target).copy_(wanted)


def stacking_fault(space: TracedSpace, network: nn.Module) -> str | None:
    """Why candidates of a network cannot train together; None where they can.

    Two of them make one step, forward and backward, on two images of zeros.
    """
    stacked = StackedTraced(space, network, 2)
    stacked.load(network, [space.full_code()] * 2, [{}, {}])
    device = next(network.parameters()).device
    images = torch.zeros(2, space.parameters["in_channels"], *space.height_width, device=device)
    try:
        with torch.random.fork_rng(devices=[]):
            logits = stacked.train()(images)
        F.cross_entropy(logits.flatten(0, 1), torch.zeros(4, dtype=torch.int64, device=device)).backward()
    except Exception as error:  # the network's own code may do anything
        return f"{type(error).__name__}: {reason_of(error)}"
    return None


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _is_stacked(value: Tensor) -> bool:
    return value.is_floating_point()  # not a batch norm's count of batches, nor a table of indices


def _copied(network: nn.Module, size: int) -> nn.Module:
    """A deep copy whose tensors have `size` rows, which no one has filled yet."""
    wide: dict[int, Tensor] = {}
    for _, value in _tensors(network):
        rows = value.detach().new_empty(size, *value.shape) if _is_stacked(value) else value.detach().clone()
        wide[id(value)] = in_place_of(value, rows)
    return copy.deepcopy(network, wide)
