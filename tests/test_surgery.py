"""A slim network computes exactly what its masked parent computes: what everything rests on."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import scramble
from torch import nn

from evoprune import UserError, build_network, load_search_space, slim_network

NUM_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet56": 9}


def masked_logits(parent: nn.Module, masks: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The full parent's logits with every cut channel multiplied by zero where the design says it is cut."""

    def multiply(name: str):
        return lambda module, inputs, output: output * masks[name][:, None, None]

    hooks = [parent.bn1.register_forward_hook(multiply("stem"))]  # relu keeps zeros
    for stage in ("layer1", "layer2", "layer3"):
        for index, block in enumerate(parent.get_submodule(stage)):
            hooks.append(block.bn1.register_forward_hook(multiply(f"{stage}.{index}.middle")))
            hooks.append(block.register_forward_hook(multiply(f"{stage}.final")))
    with torch.no_grad():
        logits = parent(images)
    for hook in hooks:
        hook.remove()
    return logits


def masks_of(num_blocks: int, width: int, code: np.ndarray) -> dict[str, torch.Tensor]:
    """Cut the code into the design's segments, by hand; an empty one keeps its first channel."""
    names = [(f"layer{s}.{b}.middle", s) for s in (1, 2, 3) for b in range(num_blocks)]
    names += [("stem", 1), *[(f"layer{s}.final", s) for s in (1, 2, 3)]]
    masks, start = {}, 0
    for name, stage in names:
        size = width * 2 ** (stage - 1)
        mask = torch.tensor(code[start : start + size], dtype=torch.float32)
        if not mask.any():
            mask[0] = 1
        masks[name] = mask
        start += size
    assert start == len(code)
    return masks


def make_codes(space, number: int) -> list[np.ndarray]:
    """All ones, all zeros, and random codes from nearly empty to nearly full, some with emptied segments."""
    rng = np.random.default_rng(11)
    codes = [np.ones(space.length, dtype=np.uint8), np.zeros(space.length, dtype=np.uint8)]
    for index, density in enumerate(np.linspace(0.02, 0.98, number - 2)):
        code = (rng.random(space.length) < density).astype(np.uint8)
        for segment in rng.choice(len(space.segments), index % 3, replace=False):
            code[space.segments[segment].slice] = 0
        codes.append(code)
    return codes


def segment_slice(space, name: str) -> slice:
    return next(segment.slice for segment in space.segments if segment.name == name)


def random_images(space, count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, space.parameters["in_channels"], 16, 16, generator=torch.Generator().manual_seed(seed))


def logits_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("name", NUM_BLOCKS)
def test_slim_network_computes_what_its_masked_parent_computes(name):
    space = load_search_space(name)
    torch.manual_seed(0)
    parent = scramble(build_network(space), seed=1).eval()
    images = random_images(space, 2)
    full = logits_of(parent, images)
    for index, code in enumerate(make_codes(space, 50)):
        wanted = masked_logits(parent, masks_of(NUM_BLOCKS[name], 16, code), images)
        slim = slim_network(space, parent, code)
        torch.testing.assert_close(
            logits_of(slim, images), wanted, atol=1e-4, rtol=1e-5, msg=lambda m, i=index: f"{i} {m}"
        )
        assert not slim.training
        if not code.all():
            assert not torch.allclose(wanted, full, atol=1e-2), "the masks change nothing, so this test says nothing"


def test_stem_and_trunk_that_share_no_channel_are_right_too(small_space, small_parent):
    code = small_space.full_code()
    code[segment_slice(small_space, "stem")] = [1, 1, 0, 0]
    code[segment_slice(small_space, "layer1.final")] = [0, 0, 1, 1]
    slim = slim_network(small_space, small_parent, code)
    assert not slim.get_submodule("layer1.0.shortcut").weight.any()
    wanted = masked_logits(small_parent, masks_of(3, 4, code), random_images(small_space, 3))
    torch.testing.assert_close(logits_of(slim, random_images(small_space, 3)), wanted, atol=1e-4, rtol=1e-5)


def test_all_ones_is_the_parent_bit_by_bit(small_space, small_parent):
    slim = slim_network(small_space, small_parent, small_space.full_code())
    before, after = small_parent.state_dict(), slim.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = random_images(small_space, 4)
    assert torch.equal(logits_of(slim, images), logits_of(small_parent, images))


def test_the_adapter_is_the_selection_matrix(small_space, small_parent):
    code = small_space.full_code()
    code[segment_slice(small_space, "stem")] = [1, 0, 1, 1]
    code[segment_slice(small_space, "layer1.final")] = [1, 1, 0, 1]
    adapter = slim_network(small_space, small_parent, code).get_submodule("layer1.0.shortcut")
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
def test_an_adapter_stands_exactly_where_stem_and_trunk_differ(small_space, small_parent, stem, final, differ):
    code = small_space.full_code()
    code[segment_slice(small_space, "stem")] = stem
    code[segment_slice(small_space, "layer1.final")] = final
    slim = slim_network(small_space, small_parent, code)
    shortcuts = {name: module for name, module in slim.named_modules() if name.endswith(".shortcut")}
    assert isinstance(shortcuts.pop("layer1.0.shortcut"), nn.Conv2d if differ else nn.Identity)
    kinds = {name: type(module) for name, module in shortcuts.items() if type(module) is not nn.Identity}
    assert kinds == {"layer2.0.shortcut": nn.Sequential, "layer3.0.shortcut": nn.Sequential}


def test_channels_are_really_gone(small_space, small_parent):
    code = small_space.full_code()
    code[segment_slice(small_space, "layer2.1.middle")] = [1, 0, 0, 1, 0, 0, 0, 0]
    slim = slim_network(small_space, small_parent, code)
    block, whole = slim.get_submodule("layer2.1"), small_parent.get_submodule("layer2.1")
    assert torch.equal(block.conv1.weight, whole.conv1.weight[[0, 3]])
    assert torch.equal(block.conv2.weight, whole.conv2.weight[:, [0, 3]])
    assert torch.equal(block.bn1.running_var, whole.bn1.running_var[[0, 3]])


def test_the_parent_is_left_as_it_was(small_space, small_parent):
    before = {name: value.clone() for name, value in small_parent.state_dict().items()}
    code = small_space.full_code()
    code[::2] = 0
    for keep in (code, small_space.full_code()):
        slim = slim_network(small_space, small_parent, keep)
        with torch.no_grad():
            for value in slim.state_dict().values():
                value.zero_()  # would reach the parent if memory were shared
    after = small_parent.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not small_parent.training
    assert all(parameter.requires_grad for parameter in small_parent.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_slim_network_is_in_the_parents_mode(small_space, small_parent, training):
    slim = slim_network(small_space, small_parent.train(training), small_space.full_code())
    assert {module.training for module in slim.modules()} == {training}


def test_a_slim_network_learns(small_space, small_parent):
    code = small_space.full_code()
    code[::3] = 0
    slim = slim_network(small_space, small_parent.train(), code)
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


def test_a_code_of_another_space_is_refused(small_space, small_parent):
    with pytest.raises(UserError, match=str(small_space.length)):
        slim_network(small_space, small_parent, np.ones(small_space.length + 1))
