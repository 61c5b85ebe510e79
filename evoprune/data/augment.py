"""Random crops and mirroring of whole batches; on the CPU together with normalisation, in one pass over the pixels."""

from typing import NamedTuple

import torch
from torch import Tensor


class Drawn(NamedTuple):
    """What chance has chosen for every image of a batch.

    Attributes:
        offsets: first row and column of the crop in the padded image, int64 (2, batch).
        mirrored: bool (batch,).
    """

    offsets: Tensor
    mirrored: Tensor


class Plan(NamedTuple):
    """What a step of training will see: which images, and what chance has chosen for them.

    Attributes:
        indices: of training images, int64 (batch,).
        offsets: as in `Drawn`.
        mirrored: as in `Drawn`.
    """

    indices: Tensor
    offsets: Tensor
    mirrored: Tensor

    @property
    def drawn(self) -> Drawn:
        """What chance has chosen."""
        return Drawn(self.offsets, self.mirrored)


def draw(count: int, padding: int, flip: bool, rng: torch.Generator) -> Drawn:
    """Draw crops and mirrorings of `count` images, image by image."""
    offsets, mirrored = torch.zeros(2, count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    if padding:
        offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=rng)
    if flip:
        mirrored = torch.rand(count, generator=rng) < 0.5
    return Drawn(offsets, mirrored)


def crop_and_flip(images: Tensor, padding: int, drawn: Drawn) -> Tensor:
    """Crop a uint8 batch (batch, channels, height, width) out of its zero padding, and mirror some of it."""
    if padding:
        images = _crop(images, padding, drawn.offsets)
    if drawn.mirrored.device.type != "cpu" or drawn.mirrored.any():
        mirrored = drawn.mirrored.to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def crop_flip_normalise(images: Tensor, padding: int, drawn: Drawn, mean: Tensor, std: Tensor) -> Tensor:
    """`crop_and_flip` of a batch on the CPU, and (pixel / 255 - mean) / std of it; float32, channels last."""
    from evoprune.common import kernels

    out = torch.empty(images.shape, memory_format=torch.channels_last)
    scale, shift = (1 / (255 * std)).flatten(), (mean / std).flatten()
    pixels, normalised = (tensor.permute(0, 2, 3, 1).numpy() for tensor in (images, out))
    chosen = (drawn.offsets - padding).numpy(), drawn.mirrored.numpy()
    kernels.crop_flip_normalise(pixels, chosen, scale.numpy(), shift.numpy(), normalised)
    return out


def _crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    device = images.device
    first = offsets.to(device)[:, :, None]
    rows, columns = first[0] + torch.arange(height, device=device), first[1] + torch.arange(width, device=device)
    which = torch.arange(count, device=device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
