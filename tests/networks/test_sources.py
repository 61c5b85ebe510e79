"""Where networks come from: libraries, files, and each mistake as one message."""

import pytest
import torch
from helpers import ROOT

from evoprune import UserError
from evoprune.networks.sources import build_source, source_name, source_spec

STRANGERS = f"{ROOT / 'tests' / 'strangers.py'}:make_branches"
SHAPE = {"num_classes": 7, "in_channels": 1, "image_size": 8}


def spec(source: str, stem: str = "imagenet", **arguments):
    return source_spec(source, arguments, stem, SHAPE)


def test_a_network_of_torchvision_fits_the_data():
    network = build_source(spec("torchvision:resnet18", "cifar"))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert network.conv1.stride == (1, 1)


def test_arguments_reach_the_function():
    network = build_source(spec("torchvision:mobilenet_v2", width_mult=0.25))
    assert network.features[0][0].out_channels == 8


def test_a_function_of_a_file_gets_the_shape_of_the_data():
    network = build_source(spec(STRANGERS))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_a_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "mynet.py"
    path.write_text((ROOT / "tests" / "strangers.py").read_text())
    known = spec(f"{path}:make_branches")
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="was changed since"):
        build_source(known)


VIEWING = """
from torch import nn

class Net(nn.Sequential):
    def forward(self, x):
        return self[1](self[0](x).{how})

def make_net(num_classes, in_channels):
    return Net(nn.Conv2d(in_channels, 4, 3), nn.Linear(4 * 6 * 6, num_classes))
"""


@pytest.mark.parametrize(("how", "is_watched"), [("view(len(x), -1)", True), ("flatten(1)", False)])
def test_a_file_that_says_view_makes_a_network_for_maps_that_lie_channels_last(tmp_path, how, is_watched):
    path = tmp_path / "mynet.py"
    path.write_text(VIEWING.format(how=how))
    network = build_source(spec(f"{path}:make_net"))
    assert bool(network._forward_hooks) == is_watched
    images = torch.randn(2, 1, 8, 8)
    wanted = network(images)
    last = network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, wanted)


def test_names():
    assert source_name("torchvision:resnet50") == "resnet50"
    assert source_name("some/path/mynet.py:make_net") == "mynet"


@pytest.mark.parametrize(("source", "message"), [
    ("resnet99", "network.source: got 'resnet99'; allowed: torchvision:NAME"),
    ("torchvision:resnet51", "did you mean 'resnet50'"),
    ("elsewhere:net", "allowed: torchvision:NAME"),
])  # fmt: skip
def test_unknown_sources(source, message):
    with pytest.raises(UserError, match=message):
        build_source(spec(source))


@pytest.mark.parametrize(("text", "message"), [
    ("def make_net():\n    raise KeyError('lost')", "raised with .*KeyError: 'lost'"),
    ("def make_net():\n    return 3", "made a int, not a torch.nn.Module"),
    ("def make_net(wanted):\n    return wanted", "missing 1 required positional argument"),
])  # fmt: skip
def test_functions_that_make_no_network(tmp_path, text, message):
    path = tmp_path / "mynet.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        build_source(spec(f"{path}:make_net"))


def test_unknown_arguments_are_named():
    with pytest.raises(UserError, match="unexpected keyword argument 'wide'"):
        build_source(spec("torchvision:resnet18", wide=3))


def test_views_in_a_file_that_the_users_file_imports_are_copies(tmp_path, monkeypatch):
    (tmp_path / "blocks_of_mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first, self.head = nn.Conv2d(3, 4, 1), nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.first(x).view(len(x), -1))\n"
    )
    (tmp_path / "net.py").write_text("from blocks_of_mine import Net\ndef make(): return Net()\n")
    monkeypatch.syspath_prepend(tmp_path)
    network = build_source(source_spec(f"{tmp_path / 'net.py'}:make", {}, "imagenet", SHAPE))
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert network.to(memory_format=torch.channels_last)(images).shape == (2, 10)
