"""A search space against its network: every row that was forgotten or changed is found."""

from dataclasses import replace

import pytest
from strangers import Branches
from traced import images, ready

from evoprune import UserError, trace_search_space
from evoprune.networks.space_check import check_costs, check_tensors


@pytest.fixture(scope="module")
def network():
    return ready(Branches())


@pytest.fixture(scope="module")
def space(network):
    return trace_search_space(network, images())


def changed(space, **parts):
    return replace(space, table=replace(space.table, **parts))


def test_what_was_traced_fits(space, network):
    check_tensors(space, network)
    check_costs(space, network, images())


def test_a_forgotten_tensor_is_named(space, network):
    rows = tuple(row for row in space.table.tensors if row.name != "other.bias")
    with pytest.raises(UserError, match=r"no row for other\.bias"):
        check_tensors(changed(space, tensors=rows), network)


def test_a_tensor_of_another_shape_is_named(space, network):
    rows = tuple(
        replace(row, bits=(row.bits[0][:-1], *row.bits[1:])) if row.name == "other.weight" else row
        for row in space.table.tensors
    )
    with pytest.raises(UserError, match=r"other\.weight has axes of \[5, 8, 3, 3\]"):
        check_tensors(changed(space, tensors=rows), network)


def test_a_tensor_that_is_not_there_is_named(space, network):
    more = (*space.table.tensors, replace(space.table.tensors[0], name="lost.weight"))
    with pytest.raises(UserError, match=r"lost\.weight stands among `tensors`"):
        check_tensors(changed(space, tensors=more), network)


def test_a_forgotten_layer_is_found_by_its_costs(space, network):
    with pytest.raises(UserError, match="its search space says"):
        check_costs(changed(space, layers=space.table.layers[1:]), network, images())


def test_an_axis_that_should_follow_a_segment_is_found(space, network):
    rows = tuple(
        replace(row, bits=(0 * row.bits[0] - 1,)) if row.name == "other.bias" else row for row in space.table.tensors
    )
    with pytest.raises(UserError, match="a narrow network does not run"):
        check_costs(changed(space, tensors=rows), network, images())
