"""What a rule sees of a call."""

import numpy as np
import pytest
import torch
from torch import nn
from traced import images, ready

from evoprune.tracing.call import (
    Arguments,
    Call,
    Notes,
    UnreadableError,
    Value,
    line_of,
    module_of,
    operator_name,
    sizes_of,
)
from evoprune.tracing.graph import export
from evoprune.tracing.trace import trace_channels


@pytest.fixture(scope="module")
def nodes():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.Flatten()).eval()
    return {node.name: node for node in export(network, images()).graph.nodes}


def make_call(node, **arguments) -> Call:
    return Call(node, Arguments(arguments), ((2, 4),), Notes(), 2)


def test_names_and_places(nodes):
    assert operator_name(nodes["relu_"]) == "relu" and module_of(nodes["relu_"]) == "0.1"
    assert make_call(nodes["conv2d"]).place == "conv2d in 0.0"
    assert operator_name(next(iter(torch.fx.symbolic_trace(nn.ReLU()).graph.nodes))) == "input"


def test_the_line_of_code_that_makes_a_node_is_the_innermost(nodes):
    file, line = line_of(nodes["flatten"]).split(", line ")
    assert file.endswith('flatten.py"') and int(line) > 0
    assert line_of(torch.fx.Graph().placeholder("x")) == ""


def test_sizes(nodes):
    assert sizes_of(nodes["conv2d"]) == ((2, 4, 6, 6),)
    assert sizes_of(nodes["output"]) == ()


def test_tensors_are_found_by_any_of_their_names_and_in_lists(nodes):
    one, other = Value((2,), (None,)), Value((3,), (None,))
    call = make_call(nodes["conv2d"], x=one, many=[other, [one]], number=3)
    assert call.value("self", "x") is one
    assert list(call.values()) == [one, other, one]
    for wrong in ("number", "missing"):
        with pytest.raises(UnreadableError):
            call.value(wrong)
    with pytest.raises(UnreadableError):
        call.arguments["missing"]


def test_an_axis_without_labels_pins_what_it_meets(nodes):
    call = make_call(nodes["conv2d"])
    labels = call.labels.fresh(2)
    call.tie(None, labels)
    call.tie(None, None)
    assert [(found.tolist(), reason) for found, reason in call.labels.pins] == [
        ([0, 1], "meets channels that are never cut: conv2d in 0.0")
    ]


def test_parts_are_noted_and_parts_of_one_channel_pinned(nodes):
    call = make_call(nodes["conv2d"])
    labels = call.labels.fresh(4)
    call.must_divide(labels, 1)
    assert call.notes.parts == [] and call.labels.pins == []
    call.must_divide(labels, 2)
    assert [(note.name, note.labels.tolist()) for note in call.notes.parts] == [("conv2d in 0.0", [[0, 1], [2, 3]])]
    call.must_divide(labels, 4)
    assert [np.array_equal(found, labels) for found, _ in call.labels.pins] == [True]


class Token(nn.Module):
    """Scales channels by what layers make of a parameter, once for all images."""

    def __init__(self):
        super().__init__()
        self.first, self.token = nn.Conv2d(3, 6, 1), nn.Parameter(torch.randn(1, 5))
        self.one, self.other, self.last = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.first(x).mean((2, 3)) * self.other(self.one(self.token).relu()))


def test_a_layer_that_runs_once_for_all_images_costs_what_it_computes():
    table = trace_channels(ready(Token()), images())
    positions = {layer.name: layer.positions for layer in table.layers}
    assert positions == {"first": 64, "one": 1, "other": 1, "last": 1}
