"""A graph and the labels of its values."""

import logging

import pytest
import torch
from torch import nn
from traced import Forward, images, trace_exactly, widths

from evoprune import UserError
from evoprune.tracing.graph import export, read_graph, walk
from evoprune.tracing.operators import OPERATORS


def test_parameters_have_labels_along_every_axis_of_more_than_one_index():
    network = nn.Sequential(nn.Conv2d(3, 4, (3, 1)), nn.BatchNorm2d(4), nn.Flatten()).eval()
    graph = read_graph(network, images())
    value, is_parameter = graph.parameters["0.weight"]
    assert is_parameter and [None if axis is None else len(axis) for axis in value.axes] == [4, 3, 3, None]
    assert not graph.parameters["1.running_mean"][1]
    assert graph.parameters["1.num_batches_tracked"][0].axes == ()


def test_images_and_constants_have_none():
    network = Forward(lambda net, x: (net.first(x) + torch.ones(4, 1, 1)).mean((2, 3)), first=nn.Conv2d(3, 4, 1)).eval()
    graph = read_graph(network, images())
    assert graph.values["x"].axes == (None,) * 4 and graph.values["x"].shape == (2, 3, 8, 8)
    assert graph.values["ones"].axes == (None,) * 3


def test_a_shared_parameter_has_one_row():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    network[1].weight = network[0].weight
    assert list(read_graph(network, torch.ones(2, 4)).parameters) == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize("context", [lambda: torch.autocast("cpu", enabled=False), torch.enable_grad])
def test_what_stands_under_a_context_is_followed(context):
    def forward(net, x):
        x = net.first(x)
        with context():
            y = net.third(net.norm(net.second(x)).relu())
        return net.last((x + y).mean((2, 3)))

    network = Forward(forward, first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 5, 1), norm=nn.BatchNorm2d(5),
                      third=nn.Conv2d(5, 4, 1), last=nn.Linear(4, 2))  # fmt: skip
    table = trace_exactly(network)
    assert widths(table) == {"first": 4, "second": 5} and table.writers["first"] == ("first", "third")
    assert [row.norm for row in table.layers] == [None, "norm", None, None]


def test_several_outputs_are_pinned():
    network = Forward(lambda net, x: {"one": net.one(x), "more": [net.two(x)]}, one=nn.Conv2d(3, 4, 1),
                      two=nn.Conv2d(3, 5, 1)).eval()  # fmt: skip
    table = walk(export(network, images()), network, images()).table()
    assert table.length == 0
    assert [(pin.reason, pin.layers) for pin in table.pins] == [("output of the network", ("one", "two"))]


def test_a_network_that_fails_is_a_user_error_with_its_own_words_and_logs_nothing(caplog):
    def fail(net, x):
        raise KeyError("my own words")

    with caplog.at_level(logging.ERROR), pytest.raises(UserError, match=r"cannot read Forward: .*my own words"):
        export(Forward(fail), images())
    assert caplog.records == []
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


@pytest.mark.parametrize(
    ("outputs", "came"),
    [
        (lambda x: {"logits": x.mean((2, 3))}, "a dict of 1 values"),
        (lambda x: (x.mean((2, 3)), [x]), "a tuple of 2 values"),
        (lambda x: (), "a tuple of 0 values"),
        (lambda x: None, "NoneType"),
        (lambda x: x, r"a tensor of shape \(2, 4, 8, 8\)"),
        (lambda x: x.mean(), r"a tensor of shape \(\)"),
    ],
)
def test_what_is_not_one_tensor_of_logits_is_refused(outputs, came):
    network = Forward(lambda net, x: outputs(net.first(x)), first=nn.Conv2d(3, 4, 1)).eval()
    with pytest.raises(UserError, match=f"one tensor of logits.* but Forward returns {came}"):
        read_graph(network, images())


def test_parameters_that_nothing_reads_are_named():
    network = Forward(lambda net, x: net.first(x).mean((2, 3)), first=nn.Conv2d(3, 4, 1), other=nn.Linear(2, 2)).eval()
    assert read_graph(network, images()).unused == ["other.weight", "other.bias"]


@pytest.mark.parametrize("error", [TypeError, IndexError, KeyError, ValueError, AssertionError])
def test_a_rule_that_does_not_foresee_a_call_pins_what_it_touches(monkeypatch, error):
    def fail(call):
        raise error

    monkeypatch.setitem(OPERATORS, "tanh", fail)
    network = Forward(lambda net, x: net.last(net.first(x).tanh().mean((2, 3))), first=nn.Conv2d(3, 4, 1),
                      last=nn.Linear(4, 2)).eval()  # fmt: skip
    (pin, _) = read_graph(network, images()).table().pins
    assert pin.reason == "an operator that the tracer does not know: tanh in the network itself"
    assert pin.layers == ("first",)
