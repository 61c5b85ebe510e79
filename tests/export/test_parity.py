"""An exported network against its original."""

import pytest
import torch
from torch import nn

from evoprune import UserError
from evoprune.export.parity import check_parity

IMAGES = torch.ones(4, 3, 2, 2)


class Shifted(nn.Module):
    """Outputs of `scale`, and what is added to those of a batch of this size."""

    def __init__(self, scale: float, shift: float = 0.0, batch: int = 4):
        super().__init__()
        self.scale, self.shift, self.batch = scale, shift, batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * self.scale + (self.shift if len(x) == self.batch else 0)


def test_equal_networks_differ_by_nothing():
    assert check_parity(Shifted(2), Shifted(2), IMAGES) == 0


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1.5e-4), (10.0, 1.5e-3), (1.0, float("nan"))])
def test_a_difference_in_a_batch_of_any_size_is_refused(batch, scale, shift):
    with pytest.raises(UserError, match=f"on {batch} images .* nothing is written"):
        check_parity(Shifted(scale), Shifted(scale, shift, batch), IMAGES)


def test_rounding_grows_with_the_outputs():
    worst = check_parity(Shifted(10.0), Shifted(10.0, 5e-4), IMAGES)
    assert worst == pytest.approx(5e-4, rel=0.01)


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"gives \(1, 4\) for 1 images, PyTorch gives \(1, 3\)"):
        check_parity(Shifted(1), nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), IMAGES)
