"""What keeps masked weights at zero while a network is trained: hooks for `TrainingOptions.after_step`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evoprune.common.schedules import RISES, in_steps
from evoprune.pruning.weights.masks import Masks, smallest_out, sparsity
from evoprune.pruning.weights.sparsities import Group


@dataclass(frozen=True)
class Rising:
    """Sparsity that rises while a network is trained.

    Attributes:
        groups: the sparsities at the end.
        schedule: a name of `evoprune.common.schedules.RISES`.
        changes: how many even steps the rise has.
        until: share of the training after which the sparsity stays.
    """

    groups: Sequence[Group]
    schedule: str
    changes: int
    until: float

    def share(self, progress: float) -> float:
        """Of the final sparsity, when the share `progress` of the training is done."""
        return in_steps(RISES[self.schedule], progress / self.until, self.changes)


class KeptZero:
    """Sets masked weights to zero after every step, so that no momentum and no weight decay revives them.

    Masking gradients would not do: what momentum has gathered moves weights on (PaddlePaddle's pull request 2603).

    Args:
        network: that is trained.
        masks: what is out at the beginning of the training.
        rising: takes more weights out on the way.
        tell: is told of every change.
    """

    def __init__(
        self,
        network: nn.Module,
        masks: Mapping[str, Tensor],
        rising: Rising | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ):
        self._network, self._rising, self._tell = network, rising, tell
        self.masks: Masks = dict(masks)
        self._share = -1.0
        self._weights: list[Tensor] = []
        self._factors: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, progress: float) -> None:
        """Do what is due when the share `progress` of the training is done."""
        if not self._weights and progress > 0:
            self._find_zeros()
        share = self._rising.share(progress) if self._rising is not None else 0.0
        if share != self._share:
            self._change(share, progress)
        torch._foreach_mul_(self._weights, self._factors)

    def _find_zeros(self) -> None:
        """A training that goes on from a checkpoint: what is zero is out, if it may go at all."""
        groups = self._rising.groups if self._rising is not None else ()
        for name in (name for group in groups for name in group.parameters):
            self.masks[name] = self._network.get_parameter(name) != 0

    def _change(self, share: float, progress: float) -> None:
        before, self._share = self._share, share
        if self._rising is not None:
            self.masks = smallest_out(self._network, self._rising.groups, self.masks, share)
            if before >= 0 or progress == 0:
                names = [name for group in self._rising.groups for name in group.parameters]
                self._tell(f"sparsity {sparsity(self.masks, names):.1%} when {progress:.1%} of the training is done")
        self._weights = [self._network.get_parameter(name).data for name in self.masks]
        pairs = zip(self._weights, self.masks.values(), strict=True)
        self._factors = [torch.empty_like(weight).copy_(mask) for weight, mask in pairs]
