"""Linear layers as CSR: what they compute, what they take on the disk, and files that are damaged."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from safetensors.torch import load_file, save_file
from torch import nn

import evoprune
from evoprune import UserError, build_network, load_model, save_model
from evoprune.common.model_files import read_description
from evoprune.networks.build import network_spec
from evoprune.networks.sources import build_source, source_spec
from evoprune.networks.sparse_linear import CsrLinear, to_csr


def sparse(linear: nn.Linear, share: float) -> nn.Linear:
    with torch.no_grad():
        linear.weight[torch.rand(linear.weight.shape) < share] = 0
    return linear.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40), (7, 40), (2, 3, 40)])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_it_computes_what_the_dense_layer_does(bias, shape, share):
    linear = sparse(nn.Linear(40, 30, bias=bias), share)
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(CsrLinear.of(linear)(x), linear(x), rtol=1e-5, atol=1e-5)


def test_rows_by_hand():
    linear = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0.0, 5.0, 6.0], [7.0, 0.0, 0.0]]))
    layer = CsrLinear.of(linear)
    assert (layer.row_starts.tolist(), layer.columns.tolist(), layer.values.tolist()) == (
        [0, 2, 3],
        [1, 2, 0],
        [5, 6, 7],
    )
    assert layer.row_starts.dtype == layer.columns.dtype == torch.int32
    assert not list(layer.parameters()) and layer.double()(torch.ones(1, 3)).tolist() == [[11, 7]]


@pytest.fixture
def saved(small_space, tmp_path: Path) -> tuple[nn.Module, Path]:
    """A network whose classifier is CSR, and the folder where it lies."""
    network = build_network(small_space).eval()
    sparse(network.linear, 0.95)
    dense = save_model(network, network_spec(small_space), tmp_path / "dense")
    counts = to_csr(network, ["linear"])
    folder = save_model(network, network_spec(small_space), tmp_path / "csr", csr=counts)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, dense)]
    assert counts["linear"] == [10, 16, network.linear.values.numel()] and sizes[0] < sizes[1]
    return network, folder


def test_a_model_is_saved_and_loaded_without_pickle(saved):
    network, folder = saved
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.json"}
    for path in (folder, folder / "model.json"):
        loaded = evoprune.load_model(path)
        assert isinstance(loaded.linear, CsrLinear) and not loaded.training
        images = torch.randn(4, 1, 8, 8)
        with torch.no_grad():
            assert torch.equal(loaded(images), network(images))


def test_a_layer_of_two_names_is_one_layer_also_when_it_is_loaded(tmp_path):
    source = f"{ROOT / 'tests' / 'strangers.py'}:make_shared"
    spec = source_spec(source, {}, "imagenet", {"num_classes": 10, "in_channels": 1})
    network = build_source(spec).eval()
    sparse(network.hidden, 0.5)
    images, nonzero = torch.randn(4, 1, 8, 8), int(network.hidden.weight.count_nonzero())
    with torch.no_grad():
        wanted = network(images)
    counts = to_csr(network, ["hidden"])
    assert counts == {"hidden": [6, 6, nonzero], "layers.0": [6, 6, nonzero]}
    loaded = load_model(save_model(network, spec, tmp_path / "csr", csr=counts), source)
    for one in (network, loaded):
        assert isinstance(one.hidden, CsrLinear) and one.layers[0] is one.hidden
        with torch.no_grad():
            torch.testing.assert_close(one(images), wanted, rtol=1e-5, atol=1e-5)


def test_indices_outside_of_the_matrix_are_refused(saved):
    _, folder = saved
    file = folder / "model.safetensors"
    state = load_file(file)
    state["linear.columns"][0] = 10_000
    save_file(state, file)
    about, digest = folder / "model.json", hashlib.sha256(file.read_bytes()).hexdigest()
    about.write_text(json.dumps({**read_description(folder), "sha256": digest}))
    with pytest.raises(UserError, match="damaged weights: linear"):
        load_model(folder)


@pytest.mark.parametrize(
    "csr",
    [
        ["linear"],
        {"linear": [10, 16, -1]},
        {"linear": [10, 16, 10**9]},
        {"linear": "3"},
        {"linear": [10, 99, 3]},
        {"conv1": [1, 1, 1]},
        {"no": [1, 1, 1]},
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, csr):
    _, folder = saved
    file = folder / "model.json"
    file.write_text(json.dumps({**read_description(folder), "csr": csr}))
    with pytest.raises(UserError, match=r"csr names linear layers"):
        load_model(folder)


def test_another_number_of_values_is_refused_by_name(saved):
    _, folder = saved
    file = folder / "model.json"
    description = read_description(folder)
    file.write_text(
        json.dumps(
            {**description, "csr": {"linear": [*description["csr"]["linear"][:2], description["csr"]["linear"][2] + 1]}}
        )
    )
    with pytest.raises(UserError, match=r"linear\.columns has shape"):
        load_model(folder)
