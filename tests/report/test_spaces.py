"""What people read of a search space."""

from strangers import Branches
from traced import images, ready

from evoprune import load_search_space, trace_search_space
from evoprune.report.spaces import space_table


def test_a_traced_space_says_what_carries_each_segment_and_what_stays():
    text = space_table(trace_search_space(ready(Branches()), images()))
    assert "26 channels in 3 segments" in text
    assert "| stem | 8 | stem, depth | depth, other, join |" in text
    assert "- head: output of the network" in text


def test_a_carried_space_has_its_layers_too():
    text = space_table(load_search_space("resnet20"))
    assert "464 channels in 13 segments" in text.replace("688", "")
    assert "flops: 40,813,184 (" in text
