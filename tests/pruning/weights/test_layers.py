"""Layers whose weights can go, and those that write the outputs."""

import pytest
import torch
from torch import Tensor, nn

from evoprune.pruning.weights.layers import output_layers, weight_layers


class Odd(nn.Module):
    """Names say nothing: `output` is in the middle, `first` writes the logits, and one layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.stem = nn.Conv2d(3, 6, 3)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.again = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.again.weight = self.deep.weight
        self.norm = nn.BatchNorm2d(6)
        self.output = nn.Linear(6, 6)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.again(self.deep(self.stem(images)))).relu().mean((2, 3))
        return self.first(self.output(x).relu())


def test_layers_are_found_with_their_kinds_and_a_shared_weight_once():
    found = {layer.name: (layer.kind, layer.parameter, layer.size) for layer in weight_layers(Odd())}
    assert found == {
        "first": ("linear", "first.weight", 24),
        "stem": ("conv", "stem.weight", 162),
        "deep": ("depthwise", "deep.weight", 54),
        "output": ("linear", "output.weight", 36),
    }


def test_the_classifier_is_found_in_the_graph_and_not_by_its_name():
    network = Odd().requires_grad_(False)
    assert output_layers(network, torch.randn(2, 3, 6, 6)) == {"first"}
    assert not any(parameter.requires_grad for parameter in network.parameters()) and network.training


def network_of(*tail: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), *tail)


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (network_of(nn.Conv2d(8, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), {"2"}),
        (network_of(nn.Flatten(), nn.LazyLinear(7), nn.BatchNorm1d(7), nn.Softmax(1)), {"3"}),
        (network_of(nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 7, bias=False)), {"4"}),
        (network_of(), {"0"}),
    ],
)
def test_what_stands_behind_the_classifier_is_no_matter(network, wanted):
    example = torch.randn(2, 3, 6, 6)
    network(example)
    assert output_layers(network, example) == wanted


def test_every_output_has_a_layer_that_writes_it(small_base):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> dict[str, tuple[Tensor, ...]]:
            x = self.body(x)
            return {"both": (self.left(x), self.right(x) + x[:, :2])}

    assert output_layers(Two(), torch.randn(2, 3)) == {"left", "right", "body"}
    assert output_layers(small_base, torch.randn(2, 1, 8, 8)) == {"linear"}
