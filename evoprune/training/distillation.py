"""Learning from a teacher's outputs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.config import DistillationConfig


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode whose softened logits are learnt as well (Hinton et al. 2015)."""

    network: nn.Module
    config: DistillationConfig

    def loss(self, logits: Tensor, images: Tensor, supervised: Tensor) -> Tensor:
        """Mix of the supervised loss and the divergence from the teacher's softened distribution."""
        with torch.no_grad():
            target = self.network(images).float()
        t, weight = self.config.temperature, self.config.weight
        divergence = F.kl_div(
            F.log_softmax(logits / t, dim=1),
            F.log_softmax(target / t, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return (1 - weight) * supervised + weight * t * t * divergence
