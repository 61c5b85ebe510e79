"""What may stand in the files of search spaces."""

import copy

import pytest

from evoprune import UserError
from evoprune.config.space_files import check_traced, check_written

SOUND = {
    "format": "traced 1",
    "name": "net",
    "network": {"source": "net.py:make"},
    "parameters": {"num_classes": 10, "in_channels": 3, "image_size": [8, 6]},
    "segments": [{"name": "conv1", "width": 4, "written_by": "conv1"}],
    "pinned": [{"reason": "the classes", "layers": "linear"}],
    "layers": [
        {"name": "conv1", "kind": "conv", "norm": None, "inputs": 3, "outputs": "conv1", "groups": 1, "kernel": 9}
        | {"positions": 48, "read_area": 48, "written_area": 48, "bias": False}
    ],
    "tensors": [
        {"name": "conv1.weight", "axes": ["conv1", 3, 9]},
        {"name": "mean", "axes": ["axis 1"], "buffer": True},
    ],
    "equal_parts": [],
    "pads": [],
    "axes": {"axis 1": ["conv1[0:2]", 1]},
}


def test_a_sound_document_is_the_same_with_what_it_leaves_out():
    checked = check_traced(SOUND, "space.yaml")
    assert checked["tensors"] == [
        {"name": "conv1.weight", "axes": ["conv1", 3, 9], "groups": 1, "buffer": False},
        {"name": "mean", "axes": ["axis 1"], "groups": 1, "buffer": True},
    ]
    assert {**checked, "tensors": SOUND["tensors"]} == SOUND


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("layers", "kernel", "x", r"space\.yaml: layers\.0\.kernel: got 'x'; allowed: .*integer"),
        ("layers", "kernel", 9 * 10**21, r"layers\.0\.kernel: got 9"),
        ("layers", "kernel", True, r"layers\.0\.kernel: got True"),
        ("layers", "kind", "pool", r"layers\.0\.kind: got 'pool'; allowed: 'conv', 'depthwise' or 'linear'"),
        ("layers", "positions", {"a": 1}, r"layers\.0\.positions: got"),
        ("layers", "groups", 0, r"layers\.0\.groups: got 0"),
        ("layers", "bias", "no", r"layers\.0\.bias: got 'no'"),
        ("tensors", "axes", 3, r"tensors\.0\.axes: got 3"),
        ("tensors", "colour", 3, r"unknown key tensors\.0\.colour"),
    ],
)
def test_a_wrong_value_is_named(section, key, value, message):
    document = copy.deepcopy(SOUND)
    document[section][0][key] = value
    with pytest.raises(UserError, match=message) as refused:
        check_traced(document, "space.yaml")
    assert str(refused.value).endswith("\n`evoprune space` writes one")


def test_a_section_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"space\.yaml: layers is missing"):
        check_traced({name: value for name, value in SOUND.items() if name != "layers"}, "space.yaml")


WRITTEN = {
    "name": "mine",
    "network": {"family": "resnet_cifar", "blocks": [1]},
    "parameters": {"width": 2, "num_classes": 3, "in_channels": 1, "image_size": [6, 8]},
    "segments": [{"name": "stem", "times": 1}],
    "layers": [{"name": "conv1", "inputs": "image", "outputs": "stem"}],
}


def test_a_written_layer_is_a_plain_convolution_where_it_says_nothing_else():
    layer = check_written(WRITTEN, "mine.yaml").layers[0]
    assert (layer.kind, layer.kernel, layer.norm) == ("conv", 1, None)


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("parameters", {**WRITTEN["parameters"], "image_size": [8]}, r"mine\.yaml: parameters\.image_size: got \[8\]"),
        ("parameters", {**WRITTEN["parameters"], "depth": 3}, r"unknown key parameters\.depth"),
        ("segments", [{"name": "stem", "times": True}], r"segments\.0\.times: got True"),
        ("layers", ["conv1"], r"layers\.0 is a mapping of keys, got 'conv1'"),
        ("name", "a\nb", r"name: got 'a\\nb'; allowed: printable characters without /"),
        ("network", 3, r"network is a mapping of keys, got 3"),
    ],
)
def test_a_wrong_value_of_a_written_space_is_named(section, value, message):
    with pytest.raises(UserError, match=message) as refused:
        check_written({**WRITTEN, section: value}, "mine.yaml")
    assert str(refused.value).endswith("\ncompare search_spaces/resnet20.yaml")
