"""Closed-form costs against the published numbers, and against what PyTorch counts on the built network."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evoprune import UserError, build_network, compute_costs, load_search_space
from evoprune.space.costs import code_costs

NAMES = ("resnet20", "resnet32", "resnet56")


def count_flops(network: nn.Module, image: torch.Tensor) -> int:
    """Multiply-adds by PyTorch's own counter, which counts each as two."""
    with FlopCounterMode(display=False) as counter:
        network(image)
    total = counter.get_total_flops()
    assert total % 2 == 0
    return total // 2


def count_params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_bandwidth(network: nn.Module, image: torch.Tensor) -> int:
    """Bytes in float32 that convolutions and linear layers read (inputs, parameters) and write (outputs)."""
    values = []

    def add(module, inputs, output):
        values.append(inputs[0].numel() + count_params(module) + output.numel())

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    network(image)
    for hook in hooks:
        hook.remove()
    return 4 * sum(values)


@torch.no_grad()
def count(space, code) -> dict[str, int]:
    network = build_network(space, code).eval()
    image = torch.zeros(1, space.parameters["in_channels"], *space.height_width)
    return {
        "flops": count_flops(network, image),
        "params": count_params(network),
        "bandwidth": count_bandwidth(network, image),
    }


def random_codes(space, number: int) -> list[np.ndarray]:
    """Codes from nearly empty to nearly full; every third has an empty segment."""
    rng = np.random.default_rng(7)
    codes = []
    for index, density in enumerate(np.linspace(0.02, 0.98, number)):
        code = (rng.random(space.length) < density).astype(np.uint8)
        if index % 3 == 0:
            code[space.segments[rng.integers(len(space.segments))].slice] = 0
        codes.append(code)
    return codes


def bits(space, name: str) -> slice:
    return next(segment.slice for segment in space.segments if segment.name == name)


def check_against_the_built_network(space, codes) -> None:
    costs = compute_costs(space, np.array(codes))
    for index, code in enumerate(codes):
        assert {name: int(values[index]) for name, values in costs.items()} == count(space, code), f"code {index}"


@pytest.mark.parametrize(
    ("name", "flops"), [("resnet20", 40_813_184), ("resnet32", 69_124_736), ("resnet56", 125_747_840)]
)
def test_full_networks_have_the_published_flops(name, flops):
    space = load_search_space(name)
    assert code_costs(space, space.full_code())["flops"] == flops


def test_full_resnet20_has_the_published_parameters():
    space = load_search_space("resnet20")
    assert code_costs(space, space.full_code())["params"] == 272_474


def test_the_smallest_resnet20_by_hand():
    """One channel everywhere; stem and trunk keep the same one, so there is no adapter."""
    space = load_search_space("resnet20")
    costs = code_costs(space, np.zeros(464))
    maps = {1: 1024, 2: 256, 4: 64}  # pixels
    convs = [(3, 9, 1, 1), *[(1, 9, 1, 1)] * 6]  # (inputs, kernel, stride of what is read, of what is written)
    convs += [(1, 9, 1, 2), (1, 1, 1, 2), *[(1, 9, 2, 2)] * 5]
    convs += [(1, 9, 2, 4), (1, 1, 2, 4), *[(1, 9, 4, 4)] * 5]
    assert costs["flops"] == sum(c * k * maps[out] for c, k, _, out in convs) + 10
    assert costs["params"] == sum(c * k + 2 for c, k, _, _ in convs) + 10 + 10
    values = sum(c * maps[read] + c * k + maps[written] for c, k, read, written in convs)
    assert costs["bandwidth"] == 4 * (values + 1 + 10 + 10 + 10)


@pytest.mark.parametrize("name", NAMES)
def test_costs_equal_a_count_on_the_built_network(name):
    space = load_search_space(name)
    check_against_the_built_network(space, [space.full_code(), np.zeros(space.length), *random_codes(space, 6)])


@pytest.mark.parametrize("image_size", [7, 8, 28, 30, 32, 33, (7, 30), (33, 8), (1, 9)])
def test_costs_equal_a_count_for_other_images_and_widths(image_size):
    space = load_search_space("resnet20", width=5, num_classes=7, in_channels=1, image_size=image_size)
    check_against_the_built_network(space, [space.full_code(), *random_codes(space, 6)])


def test_an_adapter_costs_where_stem_and_trunk_differ_even_at_equal_widths():
    space = load_search_space("resnet20")
    same, other = space.full_code(), space.full_code()
    same[bits(space, "stem")][:4] = 0
    same[bits(space, "layer1.final")][:4] = 0
    other[bits(space, "stem")][:4] = 0
    other[bits(space, "layer1.final")][-4:] = 0
    check_against_the_built_network(space, [same, other])
    difference = {name: values[1] - values[0] for name, values in compute_costs(space, [same, other]).items()}
    assert difference == {"flops": 12 * 12 * 1024, "params": 144, "bandwidth": 4 * (12 * 1024 * 2 + 144)}


def test_an_empty_segment_costs_what_its_repair_costs():
    space = load_search_space("resnet20")
    empty, repaired = space.full_code(), space.full_code()
    empty[bits(space, "layer2.1.middle")] = 0
    repaired[bits(space, "layer2.1.middle")][1:] = 0
    assert code_costs(space, empty) == code_costs(space, repaired) == count(space, empty)


def test_image_size_changes_flops_and_bandwidth_and_not_parameters():
    small, large = (load_search_space("resnet20", image_size=side) for side in (16, 32))
    a, b = (code_costs(space, space.full_code()) for space in (small, large))
    assert a["params"] == b["params"] == 272_474
    assert b["flops"] - 640 == 4 * (a["flops"] - 640)  # all but the linear layer, 64 * 10
    assert a["bandwidth"] < b["bandwidth"] < 4 * a["bandwidth"]


def test_a_population_costs_what_its_members_cost_one_by_one():
    space = load_search_space("resnet32")
    codes = np.array(random_codes(space, 40))
    together = compute_costs(space, codes)
    assert all(values.shape == (40,) and values.dtype == np.int64 for values in together.values())
    alone = [compute_costs(space, code) for code in codes]
    for name, values in together.items():
        assert values.tolist() == [int(costs[name][0]) for costs in alone]


def test_an_empty_population_costs_nothing():
    space = load_search_space("resnet20")
    assert {name: values.shape for name, values in compute_costs(space, np.zeros((0, 464))).items()} == {
        "flops": (0,),
        "params": (0,),
        "bandwidth": (0,),
    }


def test_codes_are_left_as_they_came():
    space = load_search_space("resnet20")
    codes = np.zeros((2, 464), dtype=np.uint8)
    compute_costs(space, codes)
    assert not codes.any()


@pytest.mark.parametrize(
    "codes",
    [np.ones(463), np.ones((2, 465)), np.ones((1, 2, 464)), np.full((2, 464), 2), [[1] * 464, [1] * 463], 1, []],
    ids=["short", "long", "deep", "twos", "ragged", "number", "nothing"],
)
def test_what_is_no_population_of_codes_is_refused(codes):
    with pytest.raises(UserError):
        compute_costs(load_search_space("resnet20"), codes)
