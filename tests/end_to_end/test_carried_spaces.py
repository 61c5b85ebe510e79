"""The committed search spaces of carried networks are what is read from the networks, and build them."""

import importlib.util

import pytest
from helpers import ROOT

from evoprune import compute_costs, load_search_space
from evoprune.config.network import CARRIED
from evoprune.space.traced_yaml import write_space

SCRIPT = ROOT / "search_spaces" / "write_traced.py"
KNOWN = {"resnet50": (4_089_184_256, 25_557_032), "mobilenet_v2": (300_774_272, 3_504_872)}
"""Multiply-adds and parameters that torchvision's and others' tables give for 224 pixels and 1,000 classes."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("write_traced", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", CARRIED)
def test_a_committed_file_is_what_tracing_gives(script, tmp_path, name, stem):
    file = script.file_name(name, stem)
    write_space(script.read(name, stem), tmp_path / file)
    assert (tmp_path / file).read_text() == (ROOT / "search_spaces" / file).read_text(), f"run: python {SCRIPT.name}"


@pytest.mark.parametrize("name", KNOWN)
def test_costs_are_the_published_ones(name):
    space = load_search_space(name)
    costs = compute_costs(space, space.full_code())
    assert (costs["flops"][0], costs["params"][0]) == KNOWN[name]


def test_a_cifar_stem_keeps_more_pixels():
    flops = [compute_costs(space, space.full_code())["flops"][0]
             for space in (load_search_space("resnet50_cifar"), load_search_space("resnet50"))]  # fmt: skip
    assert flops[0] > flops[1] / 4  # a map of 32 x 32 is that of an image of 128 x 128 elsewhere
