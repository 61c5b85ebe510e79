"""The file of a traced search space: it reads back equal, and one that is not whole is one message."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from strangers import STRANGERS
from torch import nn
from traced import images, ready

from evoprune import UserError, load_search_space, trace_search_space
from evoprune.common.yaml_files import read_yaml
from evoprune.space.table import ChannelTable
from evoprune.space.traced_yaml import parse_space, read_fitting_space, read_space, write_space


def same(first: ChannelTable, second: ChannelTable) -> bool:
    """Whether two tables say the same; arrays have no equality of their own."""
    return repr_of(first) == repr_of(second)


def repr_of(table: ChannelTable) -> str:
    with np.printoptions(threshold=10**6):
        return repr(replace(table, writers=dict(table.writers)))


@pytest.fixture(params=STRANGERS)
def space(request):
    return trace_search_space(ready(STRANGERS[request.param]()), images())


def test_a_file_reads_back_equal(space, tmp_path):
    path = tmp_path / "space.yaml"
    write_space(space, path)
    there = read_space(path)
    assert same(there.table, space.table)
    assert (there.name, there.layers, there.parameters) == (space.name, space.layers, space.parameters)
    assert load_search_space(str(path)).layers == space.layers


class Blurred(nn.Module):
    """Its own forward calls a convolution, and one of its layers runs in training only."""

    def __init__(self):
        super().__init__()
        self.first, self.extra, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.register_buffer("blur", torch.ones(6, 1, 3, 3) / 9)

    def forward(self, x):
        x = F.conv2d(self.first(x), self.blur, groups=len(self.blur))
        x = x + self.extra(x) if self.training else x
        return self.last(x.mean((2, 3)))


def test_layers_without_a_module_or_without_costs_read_back_equal(tmp_path):
    space = trace_search_space(ready(Blurred()), images())
    write_space(space, tmp_path / "space.yaml")
    assert [row.name for row in space.table.layers] == ["first", "blur", "extra", "last"]
    assert same(read_space(tmp_path / "space.yaml").table, space.table)


def test_images_that_are_not_square_are_kept(tmp_path):
    space = trace_search_space(ready(STRANGERS["branches"]()), images()[..., :6])
    write_space(space, tmp_path / "space.yaml")
    assert read_space(tmp_path / "space.yaml").parameters == space.parameters
    assert space.parameters["image_size"] == (8, 6) and space.height_width == (8, 6)


def test_other_parameters_are_refused(space, tmp_path):
    write_space(space, tmp_path / "space.yaml")
    with pytest.raises(UserError, match="num_classes 10, got 3; a section `network`"):
        load_search_space(str(tmp_path / "space.yaml"), num_classes=3)


def test_a_file_of_another_network_is_refused(space, tmp_path):
    path = tmp_path / "space.yaml"
    write_space(space, path)
    assert read_fitting_space(path, space.network, space.parameters, "").length == space.length
    with pytest.raises(UserError, match="of another network or other images: stem imagenet there, cifar here; do this"):
        read_fitting_space(path, {**space.network, "stem": "cifar"}, space.parameters, "do this")


@pytest.mark.parametrize(("old", "new"), [
    ("format: traced 1", "format: 7"),
    ("segments:", "segment:"),
    ("outputs: stem", "outputs: nothing"),
    ("width: 8", "width: eight"),
])  # fmt: skip
def test_a_damaged_file_is_one_message(space, tmp_path, old, new):
    path = tmp_path / "space.yaml"
    write_space(space, path)
    text = path.read_text()
    if old not in text:
        old = old.replace("8", "4")
        new = new.replace("eight", "four")
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=r"space\.yaml"):
        read_space(path)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("layers", "positions", -64, r"layers\.0\.positions: got -64"),
        ("layers", "outputs", 300_000_000, r"layers\.0\.outputs"),
        ("layers", "inputs", "stem x9999999999", "more indices than any network's axes have"),
        ("layers", "inputs", "stem[0:2:0]", "steps and times are at least 1"),
        ("layers", "inputs", "y" * 400, "an axis has numbers and segments, got 'y{80}'"),
        ("segments", "width", 3 * 10**9, r"segments\.0\.width: got 3000000000"),
    ],
)
def test_a_value_that_no_network_has_is_named(tmp_path, section, key, value, message):
    path = tmp_path / "space.yaml"
    write_space(trace_search_space(ready(STRANGERS["branches"]()), images()), path)
    document = read_yaml(path)
    document[section][0][key] = value
    with pytest.raises(UserError, match=message) as refused:
        parse_space(document, path)
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value)) < 1000


def test_more_multiply_adds_than_integers_hold_are_refused(tmp_path):
    path = tmp_path / "space.yaml"
    write_space(trace_search_space(ready(STRANGERS["branches"]()), images()), path)
    document = read_yaml(path)
    for layer in document["layers"]:
        layer |= {"kernel": 10**6, "positions": 10**9, "inputs": 10**4, "outputs": 10**4}
    with pytest.raises(UserError, match="multiply-adds are no network's"):
        parse_space(document, path)
