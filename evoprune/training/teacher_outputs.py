"""A teacher's outputs on everything that augmentation can make of the training images: crops and mirror images.

With crops out of 4 pixels of padding an image has 162 variants. A training of more epochs than that sees some of them
again; and trainings side by side see the same ones. The outputs of a CIFAR-10 teacher take 150 MB.
"""

from dataclasses import dataclass
from itertools import product
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from evoprune.config import TrainingConfig
from evoprune.data.augment import Plan
from evoprune.data.batches import batches
from evoprune.data.tensors import Data
from evoprune.networks.device import Compute

_MOST_BYTES = 2**31
_BATCH = 4000


@dataclass(frozen=True)
class TeacherOutputs:
    """Logits of all variants of all training images, shape (variants, images, num_classes)."""

    logits: Tensor
    crop: int

    def of(self, plan: Plan) -> Tensor:
        """Logits of a step's images, shape (batch, num_classes)."""
        down, right = plan.offsets
        variant = (down * (2 * self.crop + 1) + right) * 2 + plan.mirrored
        return self.logits[variant, plan.indices]


class _Known(NamedTuple):
    """What the outputs of a teacher were computed from, and they."""

    sums: tuple[int, ...]
    bf16: bool
    outputs: TeacherOutputs


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()
_one_at_a_time = Lock()


def teacher_outputs(network: nn.Module, data: Data, recipe: TrainingConfig, compute: Compute) -> TeacherOutputs | None:
    """The outputs of a teacher for a training by `recipe`; None where computing them all is no gain, or takes 2 GiB.

    Threads that train side by side share them. On a CPU they would take hours before the first epoch.

    Args:
        network: the teacher, in eval mode on `compute.device`.
        data: its training images and their augmentation.
        recipe: of the training.
        compute: device and precision.
    """
    variants = 2 * (2 * data.crop + 1) ** 2
    size = variants * len(data.train) * data.num_classes * (2 if compute.bf16 else 4)
    if compute.device.type != "cuda" or recipe.epochs <= variants or size > _MOST_BYTES:
        return None
    with _one_at_a_time:
        sums = _sums(network, data)
        known = _known.get(network)
        if known is None or (known.sums, known.bf16) != (sums, compute.bf16):
            known = _known[network] = _Known(sums, compute.bf16, all_outputs(network, data, compute))
            # Other threads read them on other streams. The device as a whole may not be waited for while one captures.
            torch.cuda.current_stream().synchronize()
        return known.outputs


def _sums(network: nn.Module, data: Data) -> tuple[int, ...]:
    """Numbers that other weights, or other images, would hardly have."""
    weights = sum(float(value.double().sum()) for value in network.state_dict().values())
    few = data.train.batch(torch.arange(0, len(data.train), max(1, len(data.train) // 1000)))
    return hash(weights), data.crop, len(data.train), int(few[0].long().sum()), int(few[1].sum())


@torch.no_grad()
def all_outputs(network: nn.Module, data: Data, compute: Compute) -> TeacherOutputs:
    """Outputs of `network`, in eval mode, on all that augmentation can make of the training images."""
    side, device = range(2 * data.crop + 1), compute.device
    variants = []
    for down, right, mirrored in product(side, side, (False, True)):
        parts = []
        for indices in batches(len(data.train), _BATCH):
            offsets = torch.tensor([[down], [right]]).expand(2, len(indices))
            plan = Plan(indices, offsets, torch.full((len(indices),), mirrored))
            images, _ = data.training_batch(Plan(*(each.to(device) for each in plan)))
            with compute.autocast():
                parts.append(network(images))
        variants.append(torch.cat(parts))
    return TeacherOutputs(torch.stack(variants), data.crop)
