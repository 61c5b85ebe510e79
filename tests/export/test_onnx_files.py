"""ONNX files: written, described, run, counted."""

import builtins
from collections import Counter

import onnx
import pytest
import torch
from strangers import Attention, Branches
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from traced import images, ready

from evoprune import UserError
from evoprune.export.onnx_files import OnnxNetwork, count_costs, is_installed, to_onnx
from evoprune.networks.counts import count
from evoprune.tracing.graph import export

FACTS = {"mean": "[0.5]"}


def written(network: nn.Module, example: Tensor, fold: bool = False) -> bytes:
    return to_onnx(export(network, example, any_batch=True), example, FACTS, fold)


@pytest.fixture(scope="module")
def plain() -> tuple[nn.Module, bytes]:
    network = ready(Branches())
    return network, written(network, images())


def test_a_file_runs_on_batches_of_any_size(plain):
    network, content = plain
    found = OnnxNetwork(content)
    for number in (1, 3):
        batch = torch.cat([images()] * number)
        with torch.no_grad():
            torch.testing.assert_close(found(batch), network(batch), rtol=1e-4, atol=1e-5)
    assert found.facts["mean"] == "[0.5]"


def test_norms_stay_unless_they_are_to_go(plain):
    network, content = plain
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    operators = [
        Counter(node.op_type for node in onnx.load_from_string(one).graph.node)
        for one in (content, written(network, images(), fold=True))
    ]
    assert operators[0]["BatchNormalization"] == 2 and operators[1]["BatchNormalization"] == 0
    assert operators[0]["Conv"] == operators[1]["Conv"] == 4


class Many(nn.Module):
    """Strided, grouped, transposed and dilated convolutions, a linear layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4),
            nn.Conv2d(4, 8, 3, groups=2, padding=2, dilation=2),
            nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Flatten(), nn.Linear(216, 5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize(("network", "zeros"), [(Branches(), 8), (Many(), 4)], ids=["branches", "many"])
def test_costs_are_those_that_torch_counts(network, zeros, tmp_path):
    """The exporter gives a convolution without a bias one of zeros."""
    file = tmp_path / "network.onnx"
    file.write_bytes(written(ready(network), images()))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(images()[:1])
    params = sum(parameter.numel() for parameter in network.parameters())
    assert count_costs(file) == {"flops": counter.get_total_flops() // 2, "params": params + zeros}


def test_products_of_activations_are_no_layers(tmp_path):
    file, image = tmp_path / "network.onnx", images()[:1]
    network = Attention().eval()
    file.write_bytes(written(network, images()))
    assert count_costs(file)["flops"] == count(network, image).flops


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x).mean((2, 3))


def test_an_operator_that_onnx_has_not_is_named():
    with pytest.raises(UserError, match=r"it has no operator for (prims|aten)\.\w*bessel_j0; --format pt2"):
        written(Bessel(), images())


def test_a_file_that_is_none_is_refused(tmp_path):
    file = tmp_path / "a.onnx"
    file.write_text("nothing")
    for read in (OnnxNetwork, count_costs):
        with pytest.raises(UserError, match=r"a\.onnx"):
            read(file)


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("onnxscript", lambda file: written(nn.Flatten(), images())),
        ("onnxruntime", OnnxNetwork),
        ("onnx", count_costs),
    ],
)
def test_without_its_library_one_is_told_what_to_install(monkeypatch, tmp_path, package, use):
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    assert is_installed()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'evoprune\[export\]'"):
        use(tmp_path / "a.onnx")
    assert is_installed() == (package == "onnx")
