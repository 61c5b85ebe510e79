"""Slim networks with zeros around them, whose widths are multiples of what tensor cores work on at once.

Convolutions in bfloat16 are slow where a width is no multiple of 8. A wider network that computes the same is trained
faster: where a channel's weights, scale and shift and all weights that read it are 0, its values and their gradients
are exactly 0, so SGD leaves them at 0.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evoprune.pruning.channels import slim_network
from evoprune.space.rounding import rounded_up
from evoprune.space.space import Code, SearchSpace

_LARGEST = 2**24
"""Elements of a tensor that float32 can number."""
_NUMBERABLE = (torch.float32, torch.float64, torch.int32, torch.int64)


@dataclass(frozen=True)
class Widened:
    """A slim network's wider twin.

    Attributes:
        network: to be trained instead. Its state has zeros where the slim network has no channels.
        places: for each entry of the state, where each element of the slim network's lies in the twin's.
    """

    network: nn.Module
    places: dict[str, Tensor]

    @torch.no_grad()
    def give_back(self, slim: nn.Module) -> None:
        """Write what the twin has learnt into the slim network."""
        state = self.network.state_dict()
        for name, value in slim.state_dict().items():
            value.copy_(state[name].reshape(-1)[self.places[name]].view(value.shape))


def widen(
    space: SearchSpace, networks: tuple[nn.Module, nn.Module], code: Code, multiple: int, images: Tensor
) -> Widened | None:
    """The wider twin of a slim network; None where there is nothing to widen, or the zeros would not stay zeros.

    Args:
        space: of the base network.
        networks: the base network, of which only the shapes matter, and the slim network of `code`.
        code: 0/1, shape (space.length,).
        multiple: of which the widths are to be, where the base network is so wide.
        images: normalised inputs, a few, on the networks' device. They show whether the twin does the same.
    """
    base, slim = networks
    code = space.repair(code)
    wide = rounded_up(space, code, multiple)
    if (wide == code).all() or (wide < code).any() or space.adapters(code) or space.adapters(wide):
        return None
    state = base.state_dict().values()
    if any(value.numel() > _LARGEST or value.dtype not in _NUMBERABLE for value in state):
        return None
    numbered = _numbered(base)
    narrow, broad = slim_network(space, numbered, code), slim_network(space, numbered, wide)
    places = _places(narrow.state_dict(), broad.state_dict())
    twin = _filled(slim_network(space, base, wide), slim, places).train(slim.training)
    return Widened(twin, places) if _does_the_same(twin, slim, places, images) else None


@torch.no_grad()
def _numbered(base: nn.Module) -> nn.Module:
    """A copy of the base network whose tensors hold the numbers of their elements."""
    numbered = deepcopy(base)
    for value in numbered.state_dict().values():
        value.copy_(torch.arange(value.numel(), device=value.device).view(value.shape))
    return numbered


def _places(narrow: dict[str, Tensor], broad: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where the numbers of one state stand in the other, flat."""
    places = {}
    for name, value in narrow.items():
        among = broad[name].reshape(-1).long()  # ascending, as slimming keeps the order
        places[name] = torch.searchsorted(among, value.reshape(-1).long())
    return places


@torch.no_grad()
def _filled(twin: nn.Module, slim: nn.Module, places: dict[str, Tensor]) -> nn.Module:
    """The twin with the slim network's state, and zeros around it."""
    state = slim.state_dict()
    for name, value in twin.state_dict().items():
        flat = torch.zeros(value.numel(), dtype=value.dtype, device=value.device)
        flat[places[name]] = state[name].reshape(-1)
        value.copy_(flat.view(value.shape))
    return twin


def _does_the_same(twin: nn.Module, slim: nn.Module, places: dict[str, Tensor], images: Tensor) -> bool:
    """Whether outputs are equal but for rounding, and the gradients of all zeros around are 0."""
    with torch.no_grad():
        wanted, found = (deepcopy(network).eval()(images) for network in (slim, twin))
    if not torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        return False
    trained = deepcopy(twin).train()
    trained(images).square().sum().backward()
    for name, parameter in trained.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.reshape(-1).clone()
            gradient[places[name]] = 0
            if gradient.any():
                return False
    return True
