"""An exported network is held against the network that it comes from."""

import torch
from torch import Tensor, nn

from evoprune.common.errors import UserError

TOLERANCE = 1e-4


@torch.no_grad()
def check_parity(network: nn.Module, exported: nn.Module, images: Tensor) -> float:
    """The largest difference of their outputs, on one image and on all of them together.

    Args:
        network: in eval mode, on the CPU.
        exported: what was made of it.
        images: inputs, shape (images, channels, height, width).

    Raises:
        UserError: outputs of another shape, or that differ by more than 1e-4 (of the largest output, where that is
            above 1).
    """
    worst = 0.0
    for batch in (images[:1], images):
        wanted, found = network(batch), exported(batch)
        if found.shape != wanted.shape:
            raise UserError(f"export: the file gives {tuple(found.shape)} for {len(batch)} images, PyTorch gives "
                            f"{tuple(wanted.shape)}; nothing is written")  # fmt: skip
        difference, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
        if not difference <= TOLERANCE * max(1.0, largest):
            raise UserError(
                f"export: on {len(batch)} images the file's outputs differ from PyTorch's by {difference:.1e}, more "
                f"than {TOLERANCE:g} of the largest ({largest:.3g}); nothing is written"
            )
        worst = max(worst, difference)
    return worst
