"""The search space of a traced network: its rows, what it repairs, and the space of a slim network."""

import numpy as np
import pytest
import torch
from strangers import Branches, Grouped
from traced import images, ready

from evoprune import UserError, compute_costs, slim_network, trace_search_space


@pytest.fixture(scope="module")
def space():
    return trace_search_space(ready(Branches()), images())


def test_layers_name_the_segments_that_they_write_and_their_norms(space):
    rows = {layer.name: (layer.kind, layer.inputs, layer.outputs, layer.norm) for layer in space.layers}
    assert rows == {
        "stem": ("conv", None, "stem", "norm"),
        "depth": ("depthwise", "stem", "stem", None),
        "other": ("conv", "stem", "other", None),
        "join": ("conv", "stem+other", "join", "join_norm"),
        "head": ("linear", "join", None, None),
    }


def test_bits_of_a_layer_are_those_of_its_channels(space):
    join = next(layer for layer in space.layers if layer.name == "join")
    assert space.input_bits(join).tolist() == list(range(14))
    head = next(layer for layer in space.layers if layer.name == "head")
    assert space.output_bits(head).tolist() == [-1] * 10


def test_costs_of_all_kinds_by_hand(space):
    full = compute_costs(space, space.full_code())
    flops = 64 * (27 * 8 + 9 * 8 + 9 * 8 * 6) + 16 * 9 * 14 * 12 + 120
    assert full["flops"].tolist() == [flops]
    assert full["params"].tolist() == [27 * 8 + 16 + 80 + 9 * 8 * 6 + 6 + 9 * 14 * 12 + 12 + 24 + 130]
    assert full["bandwidth"].shape == (1,)


def test_codes_keep_groups_even_and_important_channels():
    space = trace_search_space(ready(Grouped()), images())
    scores = np.arange(space.length, dtype=float)
    code = np.zeros(space.length, dtype=np.uint8)
    code[[0, 1, 2]] = 1
    assert space.repair(code, scores)[:8].tolist() == [0, 1, 1, 0, 0, 0, 1, 1]


def test_a_slim_network_has_a_search_space_of_its_own(space):
    network = ready(Branches())
    code = space.repair(np.arange(space.length) % 3 > 0)
    slim, own = slim_network(space, network, code), space.slim(code)
    assert own.length == code.sum()
    again = own.repair(np.arange(own.length) % 2)
    whole = code.copy()
    whole[code == 1] = again
    with torch.no_grad():
        twice = slim_network(own, slim, again)(images())
        torch.testing.assert_close(twice, slim_network(space, network, whole)(images()))
    assert compute_costs(own, again) == compute_costs(space, whole)


def test_segments_that_are_taken_out_are_never_pruned(space):
    fewer = space.without(["stem"], "a reason")
    assert [segment.name for segment in fewer.segments] == ["other", "join"]
    assert fewer.table.pins[-1].reason == "a reason"
    assert fewer.smallest_code().sum() == 2


def test_a_code_of_another_length_is_refused(space):
    with pytest.raises(UserError, match="shape"):
        space.repair([1, 0])
