"""Which layer gets which ratio."""

import pytest

from evoprune.common.errors import UserError
from evoprune.config import WeightsConfig
from evoprune.pruning.weights.layers import WeightLayer
from evoprune.pruning.weights.sparsities import Group, make_groups

LAYERS = [
    WeightLayer(name, kind, f"{name}.weight", 10)
    for name, kind in [
        ("stem", "conv"), ("a.conv1", "conv"), ("a.conv2", "depthwise"), ("b.conv1", "conv"), ("fc", "linear"),
        ("linear", "linear"),
    ]
]  # fmt: skip
OUTPUTS = {"linear"}


def ratios(**keys) -> dict[tuple[str, ...], float]:
    groups = make_groups(LAYERS, OUTPUTS, WeightsConfig(**keys))
    return {tuple(name.removesuffix(".weight") for name in group.parameters): group.sparsity for group in groups}


def test_all_layers_but_those_that_write_the_outputs_are_ranked_together_or_alone():
    names = ("stem", "a.conv1", "a.conv2", "b.conv1", "fc")
    assert ratios(sparsity=0.4) == {names: 0.4}
    assert ratios(sparsity=0.4, scope="layer") == {(name,): 0.4 for name in names}


def test_a_name_comes_before_a_glob_and_a_glob_before_a_kind():
    given = {"conv": 0.1, "*.conv1": 0.2, "a.*": 0.3, "b.conv1": 0.4, "linear": 0.99}
    assert ratios(layers=given) == {
        ("stem",): 0.1, ("a.conv1",): 0.2, ("a.conv2",): 0.3, ("b.conv1",): 0.4, ("linear",): 0.99,
    }  # fmt: skip
    assert ratios(layers={"stem": 0.0}, sparsity=0.5)[("stem",)] == 0


def test_a_kind_or_a_glob_spares_the_layer_that_writes_the_outputs():
    layers = [*LAYERS[:-1], WeightLayer("head", "linear", "head.weight", 10)]
    assert make_groups(layers, {"head"}, WeightsConfig(layers={"linear": 0.9})) == (Group(("fc.weight",), 0.9),)
    assert make_groups(layers, {"head"}, WeightsConfig(layers={"head": 0.9})) == (Group(("head.weight",), 0.9),)
    with pytest.raises(UserError, match=r"'linear' matches only layers that write the network's outputs.*them: head$"):
        make_groups(layers[-1:], {"head"}, WeightsConfig(layers={"linear": 0.9}))


@pytest.mark.parametrize("pattern", ["convv", "layer9.*", "output"])
def test_a_ratio_that_no_layer_takes_is_refused_with_the_layers_that_there_are(pattern):
    with pytest.raises(UserError, match=r"weights\.layers: .* matches no layer; .*a\.conv1.*depthwise") as caught:
        ratios(layers={pattern: 0.5})
    assert pattern in str(caught.value)


def test_nothing_that_says_how_much_goes_is_refused():
    with pytest.raises(UserError, match="--sparsity"):
        ratios()
