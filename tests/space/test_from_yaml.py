"""Search spaces from YAML: rows that tell the truth about the network, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from torch import nn

from evoprune import UserError, build_network, load_search_space

NAMES = ("resnet20", "resnet32", "resnet56")
NUM_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet56": 9}
NORMS = (nn.BatchNorm2d,)
WEIGHTED = (nn.Conv2d, nn.Linear)

# --- lengths, order, parameters


@pytest.mark.parametrize(("name", "length"), [("resnet20", 464), ("resnet32", 688), ("resnet56", 1136)])
def test_length_is_the_published_one(name, length):
    assert load_search_space(name).length == length
    assert load_search_space(name).full_code().tolist() == [1] * length


@pytest.mark.parametrize("name", NAMES)
def test_segments_stand_in_the_order_of_the_design(name):
    n = NUM_BLOCKS[name]
    middles = [(f"layer{s}.{b}.middle", 8 * 2**s) for s in (1, 2, 3) for b in range(n)]
    finals = [("layer1.final", 16), ("layer2.final", 32), ("layer3.final", 64)]
    segments = load_search_space(name).segments
    assert [(segment.name, segment.width) for segment in segments] == [*middles, ("stem", 16), *finals]


@pytest.mark.parametrize("name", NAMES)
def test_segments_tile_the_code(name):
    space = load_search_space(name)
    covered = np.concatenate([np.arange(space.length)[segment.slice] for segment in space.segments])
    assert covered.tolist() == list(range(space.length))


def test_width_scales_every_segment():
    assert load_search_space("resnet20", width=8).length == 232
    assert load_search_space("resnet20", width=1).length == 29
    assert [s.width for s in load_search_space("resnet20", width=3).segments[-4:]] == [3, 3, 6, 12]


def test_classes_and_image_channels_reach_the_network():
    network = build_network(load_search_space("resnet20", num_classes=7, in_channels=2))
    assert network.linear.out_features == 7
    assert network.conv1.in_channels == 2


@pytest.mark.parametrize("key", ["width", "num_classes", "in_channels", "image_size"])
@pytest.mark.parametrize("value", [0, -3, 1.5, True, "16", (8, 0), (8, 8, 8), [8, True]])
def test_parameters_are_whole_numbers_of_at_least_one(key, value):
    with pytest.raises(UserError, match=key):
        load_search_space("resnet20", **{key: value})


def test_images_need_not_be_square():
    assert load_search_space("resnet20", image_size=24).height_width == (24, 24)
    assert load_search_space("resnet20", image_size=(24, 32)).height_width == (24, 32)


# --- files


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"resnet_20.*did you mean 'resnet20'.*allowed: .*resnet20, resnet32, resnet50"):
        load_search_space("resnet_20")


def test_missing_file_is_refused_by_name():
    with pytest.raises(UserError, match=r"mine\.yaml: no such file"):
        load_search_space("mine.yaml")


def write_space(folder: Path, **changes: object) -> str:
    """A user's own file: one block in one stage, three segments of 2, 2 and 4 channels."""
    document = {
        "name": "mine",
        "network": {"family": "resnet_cifar", "blocks": [1]},
        "parameters": {"width": 2, "num_classes": 3, "in_channels": 1, "image_size": 6},
        "segments": [
            {"name": "layer1.0.middle", "times": 1},
            {"name": "stem", "times": 1},
            {"name": "layer1.final", "times": 2},
        ],
        "layers": [{"name": "conv1", "norm": "bn1", "kernel": 3, "inputs": "image", "outputs": "stem"}],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}))
    return str(path)


def test_a_users_own_file_is_a_search_space(tmp_path):
    space = load_search_space(write_space(tmp_path))
    assert (space.name, space.length) == ("mine", 8)
    assert space.widths([0, 1, 1, 1, 1, 1, 1, 0]) == {"layer1.0.middle": 1, "stem": 2, "layer1.final": 3}
    network = build_network(space, [0, 1, 1, 1, 1, 1, 1, 0])
    assert network.get_submodule("layer1.0.conv2").weight.shape == (3, 1, 3, 3)


CONV = {"name": "conv1", "inputs": "image", "outputs": "stem"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [{**CONV, "outputs": "stm"}]}, "did you mean 'stem'"),
        ({"layers": [{**CONV, "inputs": "classes"}]}, "unknown segment 'classes'"),
        (
            {"layers": [{**CONV, "kind": "konv"}]},
            r"layers\.0\.kind: got 'konv'; allowed: 'conv', 'linear' or 'adapter'",
        ),
        ({"layers": [{**CONV, "kernal": 3}]}, "kernal"),
        ({"segments": [{"name": "a", "times": 1}, {"name": "a", "times": 1}]}, "twice"),
        ({"segments": [{"name": "a"}]}, "times"),
        ({"segments": [{"name": "stem", "times": 0}]}, "times"),
        ({"segments": [{"name": "stem", "times": 1.5}]}, "times"),
        ({"segments": [{"name": "stem", "times": -1}]}, "times"),
        ({"parameters": {"width": 2}}, r"parameters\.num_classes is missing"),
        ({"segments": None}, "segments: got None"),
        ({"segments": []}, "segments: got .*at least 1"),
        ({"layers": [{**CONV, "name": "a/b"}]}, "name: got 'a/b'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_search_space(write_space(tmp_path, **changes))


# --- the rows against the real network


def test_every_layer_of_the_network_stands_in_the_space_and_back():
    for name in NAMES:
        space = load_search_space(name)
        modules = dict(build_network(space).named_modules())
        rows = [layer for layer in space.layers if layer.kind != "adapter"]
        assert [row.name for row in rows] == [n for n, m in modules.items() if isinstance(m, WEIGHTED)]
        assert {row.norm for row in rows if row.norm} == {n for n, m in modules.items() if isinstance(m, NORMS)}


@pytest.mark.parametrize("name", NAMES)
def test_channels_of_every_row_are_those_of_the_module(name):
    space = load_search_space(name, width=3, num_classes=7, in_channels=2)
    code = space.repair(np.random.default_rng(0).integers(0, 2, space.length))  # stem != layer1.final, so an adapter
    modules = dict(build_network(space, code).named_modules())
    widths = {"image": 2, "classes": 7, **space.widths(code)}
    for row in space.layers:
        kernel = () if row.kind == "linear" else (row.kernel, row.kernel)
        assert modules[row.name].weight.shape == (widths[row.outputs], widths[row.inputs], *kernel), row
        if row.norm is not None:
            assert modules[row.norm].num_features == widths[row.outputs], row
