"""Learning from a teacher's outputs, which are computed once where a training sees its images often enough."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoprune.config import DistillationConfig, RetrainConfig
from evoprune.data.augment import Plan
from evoprune.data.tensors import Data
from evoprune.networks.device import Compute
from evoprune.training.teacher_outputs import TeacherOutputs, teacher_outputs


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode whose softened logits are learnt as well (Hinton et al. 2015).

    Attributes:
        network: the teacher.
        config: weight and temperature.
        outputs: of all that a training can see, where they are known.
    """

    network: nn.Module
    config: DistillationConfig
    outputs: TeacherOutputs | None = None

    def loss(self, logits: Tensor, images: Tensor, supervised: Tensor, plan: Plan | None = None) -> Tensor:
        """Mix of the supervised loss and the divergence from the teacher's softened distribution.

        Args:
            logits: of the student, shape (batch, num_classes).
            images: what it has seen.
            supervised: its loss without a teacher.
            plan: of which the images came.
        """
        with torch.no_grad():
            if self.outputs is not None and plan is not None:
                target = self.outputs.of(plan).float()
            else:
                target = self.network(images).float()
        t, weight = self.config.temperature, self.config.weight
        divergence = F.kl_div(
            F.log_softmax(logits / t, dim=1),
            F.log_softmax(target / t, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        return (1 - weight) * supervised + weight * t * t * divergence


def make_teacher(base: nn.Module, data: Data, recipe: RetrainConfig, compute: Compute) -> Teacher | None:
    """The base network as the teacher that `recipe` asks for, on the device and in eval mode; None where it does not.

    Args:
        base: the base network, which is moved there itself.
        data: what is trained on.
        recipe: the section `retrain`.
        compute: device and precision.
    """
    if recipe.distillation is None:
        return None
    base = base.to(compute.device).eval()
    return Teacher(base, recipe.distillation, teacher_outputs(base, data, recipe, compute))
