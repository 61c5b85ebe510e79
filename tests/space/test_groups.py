"""Channels that go together: groups against the connected components of a graph."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evoprune import load_search_space
from evoprune.space.groups import ChannelGroup, Layer, Segment
from evoprune.space.space import SearchSpace


def make_space(widths: list[int], adapters: list[tuple[int, int]]) -> SearchSpace:
    """A space without a network: segments s0, s1, ... and adapters between some of them."""
    starts = np.cumsum([0, *widths]).tolist()
    segments = tuple(Segment(f"s{i}", width, starts[i]) for i, width in enumerate(widths))
    layers = tuple(Layer(f"a{i}", "adapter", f"s{a}", f"s{b}") for i, (a, b) in enumerate(adapters))
    return SearchSpace("made", {}, segments, layers, {})


def test_segments_that_an_adapter_joins_are_tied():
    space = load_search_space("resnet20")
    alone = [(segment.name,) for segment in space.segments if segment.name not in ("stem", "layer1.final")]
    assert [group.segments for group in space.groups] == [*alone[:9], ("stem", "layer1.final"), *alone[9:]]
    assert [group.name for group in space.groups][8:11] == ["layer3.2.middle", "stem+layer1.final", "layer2.final"]


def test_segments_of_different_widths_are_not_tied():
    space = load_search_space("resnet20")
    segments = tuple(replace(segment, width=8) if segment.name == "stem" else segment for segment in space.segments)
    groups = replace(space, segments=segments).groups
    assert tuple(group.segments for group in groups) == tuple((segment.name,) for segment in segments)


@settings(deadline=None)
@given(st.lists(st.integers(1, 2), min_size=1, max_size=8), st.data())
def test_groups_are_the_connected_parts_in_the_order_of_the_code(widths, data):
    ends = st.integers(0, len(widths) - 1)
    adapters = data.draw(st.lists(st.tuples(ends, ends), max_size=8))
    space = make_space(widths, adapters)
    edges = [(a, b) for a, b in adapters if widths[a] == widths[b]]
    rows, columns = np.array(edges, dtype=int).reshape(-1, 2).T
    _, labels = connected_components(coo_array((np.ones(len(edges)), (rows, columns)), shape=[len(widths)] * 2), False)
    wanted = [tuple(f"s{i}" for i in np.flatnonzero(labels == label)) for label in dict.fromkeys(labels.tolist())]
    assert [group.segments for group in space.groups] == wanted
    for group in space.groups:
        assert group.name == "+".join(group.segments)
        assert group.slices == tuple(space.segment(name).slice for name in group.segments)
        assert {space.segment(name).width for name in group.segments} == {group.width}


def test_a_group_reads_its_first_segment_and_writes_all_of_them():
    group = ChannelGroup("a+c", 2, (slice(0, 2), slice(5, 7)), ("a", "c"))
    values = np.arange(14).reshape(2, 7)
    assert group.of(values).tolist() == [[0, 1], [7, 8]]
    group.put(values, [[50, 51], [52, 53]])
    assert values.tolist() == [[50, 51, 2, 3, 4, 50, 51], [52, 53, 9, 10, 11, 52, 53]]
    group.put(values[0], 0)
    assert values[0].tolist() == [0, 0, 2, 3, 4, 0, 0]
