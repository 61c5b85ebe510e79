"""One contract for every family of networks: a slim one computes exactly what its masked base network computes.

It is what everything rests on. Names what it tests: evoprune.networks.resnet_cifar, evoprune.networks.build,
evoprune.pruning.channels.
"""

import json

import numpy as np
import pytest
import torch
from helpers import scramble
from torch import nn

from evoprune import SearchSpace, build_network, load_search_space, slim_network
from evoprune.networks.build import NETWORKS, network_from_spec, network_spec

SPACES = ["resnet20", "resnet32", "resnet56"]


def masked_resnet_cifar(base: nn.Module, masks: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The base network's logits with every pruned channel multiplied by zero where the design says it is pruned."""

    def multiply(name: str):
        return lambda module, inputs, output: output * masks[name][:, None, None]

    hooks = [base.bn1.register_forward_hook(multiply("stem"))]  # relu keeps zeros
    for stage in ("layer1", "layer2", "layer3"):
        for index, block in enumerate(base.get_submodule(stage)):
            hooks.append(block.bn1.register_forward_hook(multiply(f"{stage}.{index}.middle")))
            hooks.append(block.register_forward_hook(multiply(f"{stage}.final")))
    with torch.no_grad():
        logits = base(images)
    for hook in hooks:
        hook.remove()
    return logits


def masks_of_resnet_cifar(space: SearchSpace, code: np.ndarray) -> dict[str, torch.Tensor]:
    """Split the code into the design's segments, by hand; an empty one keeps its first channel."""
    num_blocks, width = NUM_BLOCKS[space.name], space.parameters["width"]
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


NUM_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet56": 9}
MASKED = {"resnet_cifar": (masks_of_resnet_cifar, masked_resnet_cifar)}
"""For each family: from a code to a mask of each segment, and from those to the logits of the masked network."""


def masked_logits(space: SearchSpace, base: nn.Module, code: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    masks_of, masked = MASKED[space.network["family"]]
    return masked(base, masks_of(space, code), images)


def make_codes(space: SearchSpace, number: int) -> list[np.ndarray]:
    """All ones, all zeros, and random codes from nearly empty to nearly full, some with emptied segments."""
    rng = np.random.default_rng(11)
    codes = [np.ones(space.length, dtype=np.uint8), np.zeros(space.length, dtype=np.uint8)]
    for index, density in enumerate(np.linspace(0.02, 0.98, number - 2)):
        code = (rng.random(space.length) < density).astype(np.uint8)
        for segment in rng.choice(len(space.segments), index % 3, replace=False):
            code[space.segments[segment].slice] = 0
        codes.append(code)
    return codes


def random_images(space: SearchSpace, count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, space.parameters["in_channels"], 16, 16, generator=torch.Generator().manual_seed(seed))


def logits_of(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(images)


def test_every_family_is_under_this_contract():
    assert set(MASKED) == set(NETWORKS) == {load_search_space(name).network["family"] for name in SPACES}


@pytest.mark.parametrize("name", SPACES)
def test_slim_network_computes_what_its_masked_base_network_computes(name):
    space = load_search_space(name)
    torch.manual_seed(0)
    base = scramble(build_network(space), seed=1).eval()
    images = random_images(space, 2)
    full = logits_of(base, images)
    for index, code in enumerate(make_codes(space, 50)):
        wanted = masked_logits(space, base, code, images)
        slim = slim_network(space, base, code)
        torch.testing.assert_close(
            logits_of(slim, images), wanted, atol=1e-4, rtol=1e-5, msg=lambda m, i=index: f"{i} {m}"
        )
        assert not slim.training
        if not code.all():
            assert not torch.allclose(wanted, full, atol=1e-2), "the masks change nothing, so this test says nothing"


def test_stem_and_trunk_that_share_no_channel_are_right_too(small_space, small_base):
    code = small_space.full_code()
    code[small_space.segment("stem").slice] = [1, 1, 0, 0]
    code[small_space.segment("layer1.final").slice] = [0, 0, 1, 1]
    slim = slim_network(small_space, small_base, code)
    assert not slim.get_submodule("layer1.0.shortcut").weight.any()
    wanted = masked_logits(small_space, small_base, code, random_images(small_space, 3))
    torch.testing.assert_close(logits_of(slim, random_images(small_space, 3)), wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_layers_of_the_space_are_modules_with_the_widths_of_the_code(name):
    space = load_search_space(name, width=3, num_classes=7, in_channels=2)
    code = np.random.default_rng(1).integers(0, 2, space.length, dtype=np.uint8)
    network = network_from_spec(json.loads(json.dumps(network_spec(space, code))))
    widths = {"image": 2, "classes": 7} | space.widths(code)
    for layer in space.layers:
        module = network.get_submodule(layer.name)
        if layer.kind == "adapter" and layer.name not in space.adapters(code):
            assert isinstance(module, nn.Identity)
            continue
        assert module.weight.shape[:2] == (widths[layer.outputs], widths[layer.inputs])
        assert layer.kind == "linear" or module.kernel_size == (layer.kernel, layer.kernel)
        if layer.norm is not None:
            assert network.get_submodule(layer.norm).num_features == widths[layer.outputs]
    controlled = {layer.name for layer in space.layers} | {layer.norm for layer in space.layers}
    learnt = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    assert learnt <= controlled, "a module that no layer of the space names is never pruned"
