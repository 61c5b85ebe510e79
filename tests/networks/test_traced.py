"""Reading search spaces: of any module, and of a source; each mistake is one message."""

import numpy as np
import pytest
import torch
from strangers import STRANGERS, Branches, Scaled
from torch import nn
from traced import images, ready

from evoprune import (
    UserError,
    compute_costs,
    load_model,
    load_weights,
    network_spec,
    save_model,
    slim_network,
    trace_search_space,
)
from evoprune.networks.build import build_network
from evoprune.networks.counts import count
from evoprune.networks.sources import source_spec
from evoprune.networks.traced import read_network
from evoprune.tracing.surgery import masked

SHAPE = {"num_classes": 10, "in_channels": 3, "image_size": 32}
STRANGER = "tests/strangers.py:make_branches"


@pytest.mark.parametrize("name", STRANGERS)
def test_slim_networks_are_exact_and_cost_what_the_space_says(name):
    network = ready(STRANGERS[name]())
    space = trace_search_space(network, images())
    rng = np.random.default_rng(0)
    for _ in range(5):
        code = space.repair((rng.random(space.length) < 0.6).astype(np.uint8))
        slim = slim_network(space, network, code)
        with torch.no_grad():
            truth = masked(space.table, network, code)(images())
            torch.testing.assert_close(slim(images()), truth, rtol=1e-5, atol=1e-5)
        costs, counted = compute_costs(space, code), count(slim, images()[:1])
        assert (counted.flops, counted.params) == (costs["flops"][0], costs["params"][0])


def test_a_network_of_torchvision_is_pruned_saved_and_loaded(tmp_path):
    space = read_network(source_spec("torchvision:resnet18", {}, "cifar", SHAPE), (32, 32))
    network = ready(build_network(space))
    code = space.repair(np.arange(space.length) % 3 > 0)
    slim = slim_network(space, network, code)
    loaded = load_model(save_model(slim, network_spec(space, code), tmp_path / "model"))
    example = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(example), slim(example))
    assert loaded.conv1.out_channels == space.widths(code)["conv1"]


def test_a_network_of_a_users_file_is_loaded_only_where_the_file_is_named(tmp_path):
    space = read_network(source_spec(STRANGER, {}, "imagenet", SHAPE), (8, 8))
    network = ready(build_network(space))
    code = space.repair(np.arange(space.length) % 2)
    slim = slim_network(space, network, code)
    folder = save_model(slim, network_spec(space, code), tmp_path / "model")
    with pytest.raises(UserError, match=r"load_model\(\.\.\., source="):
        load_model(folder)
    with torch.no_grad():
        assert torch.equal(load_model(folder, source=STRANGER)(images()), slim(images()))


def test_a_module_that_came_from_nowhere_is_loaded_with_its_source(tmp_path):
    network = ready(Branches())
    space = trace_search_space(network, images())
    code = space.repair(np.arange(space.length) % 2)
    slim = slim_network(space, network, code)
    folder = save_model(slim, network_spec(space, code), tmp_path / "model")
    with pytest.raises(UserError, match="source="):
        load_model(folder)
    with torch.no_grad():
        assert torch.equal(load_model(folder, source=STRANGER)(images()), slim(images()))


def test_buffers_that_the_state_leaves_out_are_saved_as_they_are_narrowed(tmp_path):
    """A loaded network had them at full width, and failed."""
    network, code = Scaled().eval(), [0, 1, 0, 0, 1, 1]
    space = trace_search_space(network, images())
    slim = slim_network(space, network, code)
    folder = save_model(slim, network_spec(space, code), tmp_path / "model")
    loaded = load_model(folder, source="tests/strangers.py:make_scaled")
    assert torch.equal(loaded.get_buffer("scale"), network.scale[[1, 4, 5]])
    with torch.no_grad():
        assert torch.equal(loaded(images()), slim(images()))
    network.scale.zero_()
    save_model(network, network_spec(space), tmp_path / "full")
    assert not load_weights(Scaled(), tmp_path / "full").get_buffer("scale").any()


def test_weights_of_a_wider_network_than_the_source_are_refused(tmp_path):
    network = ready(Branches(num_classes=12))
    space = trace_search_space(network, images())
    save_model(network, {**network_spec(space), "num_classes": 10}, tmp_path / "model")
    with pytest.raises(UserError, match=r"head\.weight has shape \(12, 12\), which is not narrower"):
        load_model(tmp_path / "model", source=STRANGER)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.layer(x).mean((2, 3)), x


@pytest.mark.parametrize(("network", "message"), [
    (Two(), "must return one tensor of logits.*got tuple"),
    (nn.Conv2d(3, 4, 1), r"got shape \(2, 4, 8, 8\)"),
    (nn.Sequential(nn.Conv2d(5, 4, 1)), "cannot take images of 3x8x8"),
    (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)), "nothing of it can be pruned"),
])  # fmt: skip
def test_networks_that_cannot_be_used(network, message):
    with pytest.raises(UserError, match=message):
        trace_search_space(network, images())


class WithState(Branches):
    def get_extra_state(self):
        return {"version": 1}


class WithoutReturn(Branches):
    def train(self, mode=True):
        super().train(mode)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyConv2d(4, 3)), "1 is a LazyConv2d, .* its number of inputs"),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyBatchNorm2d()), "1 is a LazyBatchNorm2d"),
    (lambda: nn.utils.weight_norm(nn.Conv2d(3, 4, 1)), "the network itself keeps weight, .*parametrizations"),
    (WithState, "saved as tensors, but its state has _extra_state"),
    (WithoutReturn, "end it with return self"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_networks_that_cannot_be_copied_or_saved(make, message):
    with pytest.raises(UserError, match=message):
        trace_search_space(make(), images())


def test_auxiliary_outputs_in_training_are_refused_by_experiments(tmp_path):
    path = tmp_path / "mynet.py"
    path.write_text(
        "from strangers import Branches\n\nclass Aux(Branches):\n    def forward(self, x):\n"
        "        logits = super().forward(x)\n        return (logits, logits) if self.training else logits\n\n"
        "def make_net():\n    return Aux()\n"
    )
    with pytest.raises(UserError, match="in training too; got tuple; turn auxiliary outputs off"):
        read_network(source_spec(f"{path}:make_net", {}, "imagenet", SHAPE), (8, 8))


def test_the_network_is_left_as_it_is():
    network = ready(Branches()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace_search_space(network, images())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_another_number_of_classes_than_the_data_have_is_refused(tmp_path):
    path = tmp_path / "mynet.py"
    path.write_text("from strangers import Branches\n\ndef make_net():\n    return Branches(5)\n")
    with pytest.raises(UserError, match="has 5 outputs, the data have 10 classes"):
        read_network(source_spec(f"{path}:make_net", {}, "imagenet", SHAPE), (8, 8))
