"""Top-1 accuracy of one network, or of stacked ones."""

import torch
from torch import nn

from evoprune.common.errors import OUTPUT_NOT_FINITE, TrainingError
from evoprune.data.batches import EVALUATION_BATCH, batches
from evoprune.data.dataset import Split
from evoprune.data.tensors import Data
from evoprune.networks.device import CPU, Compute
from evoprune.networks.fused_layers import constant_weights
from evoprune.training.stacked_training import Stacked

_EVALUATION_BATCH_CPU = 125  # feature maps that stay in a core's cache: up to a third faster than 500


@torch.no_grad()
def accuracy(network: nn.Module, data: Data, split: Split, compute: Compute = CPU) -> float:
    """Top-1 accuracy of `network` on `split` in percent, in eval mode.

    Raises:
        TrainingError: an output is not finite.
    """
    network.eval()
    correct = 0
    batch_size = _EVALUATION_BATCH_CPU if compute.device.type == "cpu" else EVALUATION_BATCH
    with constant_weights():
        for indices in batches(len(split), batch_size):
            images, labels = split.batch(indices)
            with compute.autocast():
                logits = network(data.normalise(images))
            if not bool(torch.isfinite(logits).all()):
                raise TrainingError(OUTPUT_NOT_FINITE)
            correct += int((logits.argmax(1) == labels).sum())
    return round(100 * correct / len(split), 4)


@torch.no_grad()
def stacked_accuracies(network: Stacked, data: Data, split: Split, compute: Compute = CPU) -> list[float | None]:
    """Of each stacked network the top-1 accuracy in percent, in eval mode; None where an output is not finite."""
    network.eval()
    correct = torch.zeros(network.size, dtype=torch.int64, device=compute.device)
    finite = torch.ones(network.size, dtype=torch.bool, device=compute.device)
    for indices in batches(len(split), EVALUATION_BATCH):
        images, labels = split.batch(indices)
        with compute.autocast():
            logits = network(data.normalise(images))
        finite &= logits.isfinite().all(2).all(0)
        correct += (logits.argmax(2) == labels[:, None]).sum(0)
    scores = zip(correct.tolist(), finite.tolist(), strict=True)
    return [round(100 * right / len(split), 4) if sound else None for right, sound in scores]
