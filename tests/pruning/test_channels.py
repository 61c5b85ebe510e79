"""A slim network has exactly what its code keeps of the base network; what it computes is tests/contracts/'s."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoprune import UserError, slim_network


def random_images(space, count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, space.parameters["in_channels"], 16, 16, generator=torch.Generator().manual_seed(seed))


def logits_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(images)


def test_all_ones_is_the_base_network_bit_by_bit(small_space, small_base):
    slim = slim_network(small_space, small_base, small_space.full_code())
    before, after = small_base.state_dict(), slim.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = random_images(small_space, 4)
    assert torch.equal(logits_of(slim, images), logits_of(small_base, images))


def test_the_adapter_is_the_selection_matrix(small_space, small_base):
    code = small_space.full_code()
    code[small_space.segment("stem").slice] = [1, 0, 1, 1]
    code[small_space.segment("layer1.final").slice] = [1, 1, 0, 1]
    adapter = slim_network(small_space, small_base, code).get_submodule("layer1.0.shortcut")
    assert adapter.weight.squeeze().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]  # rows 0, 1, 3; columns 0, 2, 3


@pytest.mark.parametrize(
    ("stem", "final", "differ"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], False),
        ([0, 1, 0, 1], [0, 1, 0, 1], False),
        ([0, 0, 0, 0], [1, 0, 0, 0], False),  # repair makes them agree
        ([1, 1, 0, 0], [0, 0, 1, 1], True),
        ([1, 1, 1, 1], [1, 1, 1, 0], True),
        ([0, 0, 0, 0], [0, 1, 0, 0], True),
    ],
)
def test_an_adapter_stands_exactly_where_stem_and_trunk_differ(small_space, small_base, stem, final, differ):
    code = small_space.full_code()
    code[small_space.segment("stem").slice] = stem
    code[small_space.segment("layer1.final").slice] = final
    slim = slim_network(small_space, small_base, code)
    shortcuts = {name: module for name, module in slim.named_modules() if name.endswith(".shortcut")}
    assert isinstance(shortcuts.pop("layer1.0.shortcut"), nn.Conv2d if differ else nn.Identity)
    kinds = {name: type(module) for name, module in shortcuts.items() if type(module) is not nn.Identity}
    assert kinds == {"layer2.0.shortcut": nn.Sequential, "layer3.0.shortcut": nn.Sequential}


def test_channels_are_really_gone(small_space, small_base):
    code = small_space.full_code()
    code[small_space.segment("layer2.1.middle").slice] = [1, 0, 0, 1, 0, 0, 0, 0]
    slim = slim_network(small_space, small_base, code)
    block, whole = slim.get_submodule("layer2.1"), small_base.get_submodule("layer2.1")
    assert torch.equal(block.conv1.weight, whole.conv1.weight[[0, 3]])
    assert torch.equal(block.conv2.weight, whole.conv2.weight[:, [0, 3]])
    assert torch.equal(block.bn1.running_var, whole.bn1.running_var[[0, 3]])


def test_the_base_network_is_left_as_it_was(small_space, small_base):
    before = {name: value.clone() for name, value in small_base.state_dict().items()}
    code = small_space.full_code()
    code[::2] = 0
    for keep in (code, small_space.full_code()):
        slim = slim_network(small_space, small_base, keep)
        with torch.no_grad():
            for value in slim.state_dict().values():
                value.zero_()  # would reach the base network if memory were shared
    after = small_base.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not small_base.training
    assert all(parameter.requires_grad for parameter in small_base.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_slim_network_is_in_the_mode_of_the_base_network(small_space, small_base, training):
    slim = slim_network(small_space, small_base.train(training), small_space.full_code())
    assert {module.training for module in slim.modules()} == {training}


def test_a_slim_network_learns(small_space, small_base):
    code = small_space.full_code()
    code[::3] = 0
    slim = slim_network(small_space, small_base.train(), code)
    images, labels = random_images(small_space, 8), torch.arange(8) % 2
    optimizer = torch.optim.SGD(slim.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(slim(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in slim.parameters())
    assert losses[-1] < losses[0] / 2


def test_a_code_of_another_space_is_refused(small_space, small_base):
    with pytest.raises(UserError, match=str(small_space.length)):
        slim_network(small_space, small_base, np.ones(small_space.length + 1))
