"""A forward that says `view` where it could say `flatten` works on maps of any layout, and is otherwise as it was."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import few_digits
from torch import Tensor, nn

from evoprune.config import TrainingConfig
from evoprune.networks.device import CPU, Compute
from evoprune.networks.fusion import fused
from evoprune.networks.traced import trace_search_space
from evoprune.networks.views import copy_views
from evoprune.tracing.surgery import narrow
from evoprune.training.loop import train


class Tutorial(nn.Module):
    """As PyTorch's first tutorial writes it."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 8, 3), nn.Linear(8 * 2 * 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.second(F.relu(self.norm(self.first(x))))), 2)
        return self.head(x.view(-1, 8 * 2 * 2).view(torch.float32))


class AnyWidth(Tutorial):
    """The same for any width, by the number of images."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.second(F.relu(self.norm(self.first(x))))), 2)
        other = torch.zeros(len(x), x.shape[1] * 4)
        return self.head(x.view(x.size(0), -1) + x.view_as(other))


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize("kind", [Tutorial, AnyWidth])
def test_views_of_maps_that_lie_channels_last_are_copies(kind):
    network, images = made(kind), torch.randn(4, 1, 8, 8)
    wanted = network(images)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        last(images)
    copy_views(last)
    torch.testing.assert_close(last(images), wanted)
    with pytest.raises(RuntimeError, match="Kernel size"):
        last(images[:, :, :4])
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        images.transpose(2, 3).view(4, -1)  # nothing else is changed, after an error too


def test_a_network_with_views_is_traced_narrowed_fused_and_trained():
    network = made(AnyWidth)
    copy_views(network)
    space = trace_search_space(network, torch.zeros(2, 1, 8, 8))
    assert {segment.name: segment.width for segment in space.segments} == {"first": 6, "second": 8}
    slim = narrow(space.table, network, space.table.half_code(space.segments))
    with fused(slim, Compute(torch.device("cpu"), bf16=True)):
        list(train(slim, few_digits(64), TrainingConfig(epochs=1, batch_size=32, lr=0.1), CPU))
    assert slim.head.weight.isfinite().all()
