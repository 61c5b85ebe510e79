"""What a segment makes of the scores of its layers, by hand."""

import numpy as np
import pytest
from helpers import NINE_CODES

from evoprune import UserError, load_search_space
from evoprune.pruning.importance.aggregate import Importance, relative, segment_scores, unscored_groups
from evoprune.space.space import SearchSpace


def outputs(space: SearchSpace) -> dict[str, np.ndarray]:
    """Made-up scores of all that writes to a segment."""
    rng = np.random.default_rng(0)
    layers = [layer for layer in space.layers if layer.kind != "adapter" and layer.outputs != "classes"]
    return {layer.name: 100 * rng.random(space.segment(layer.outputs).width) for layer in layers}


def by_segment(space: SearchSpace, found: Importance) -> dict[str, np.ndarray]:
    return {segment.name: segment_scores(space, found)[segment.slice] for segment in space.segments}


def test_a_segment_has_the_mean_of_its_layers(small_space):
    scores = outputs(small_space)
    bits = by_segment(small_space, Importance(scores, {}))
    assert bits["layer2.1.middle"] == pytest.approx(scores["layer2.1.conv1"])
    third = ("layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2", "layer3.2.conv2")
    assert bits["layer3.final"] == pytest.approx(sum(scores[name] for name in third) / 4)
    first = ("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2")
    assert bits["layer1.final"] == pytest.approx(sum(scores[name] for name in first) / 4)
    assert (bits["stem"] == bits["layer1.final"]).all(), "an adapter ties them"


def test_layers_that_read_it_count_as_those_that_write_it(small_space):
    scores, read = outputs(small_space), {"layer2.1.conv2": np.arange(8.0), "linear": np.arange(16.0)}
    bits = by_segment(small_space, Importance(scores, {}, read))
    assert bits["layer2.1.middle"] == pytest.approx((scores["layer2.1.conv1"] + np.arange(8)) / 2)
    third = ("layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2", "layer3.2.conv2")
    assert bits["layer3.final"] == pytest.approx((sum(scores[name] for name in third) + np.arange(16)) / 5)


def test_scores_relative_to_their_layer_have_a_mean_of_1_and_zeros_stay_zeros():
    scaled = relative({"one": np.array([1.0, 3.0]), "other": np.array([-30.0, 10.0]), "none": np.zeros(2)})
    assert {name: values.tolist() for name, values in scaled.items()} == {
        "one": [0.5, 1.5],
        "other": [-1.5, 0.5],
        "none": [0.0, 0.0],
    }


def test_layers_without_scores_do_not_count(small_space):
    scores = {name: np.zeros(len(values)) for name, values in outputs(small_space).items()}
    scores["layer1.2.conv2"] = np.array([1.0, 2.0, 3.0, 2.0])
    del scores["layer1.0.conv2"], scores["layer1.1.conv2"]
    bits = by_segment(small_space, Importance(scores, {}))
    assert bits["stem"] == pytest.approx([0.5, 1.0, 1.5, 1.0]), "the mean with the zeros of conv1"
    assert (bits["layer3.final"] == 0).all()


def test_a_segment_of_which_no_layer_has_scores_is_a_users_mistake(tmp_path):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "nine.yaml"))
    with pytest.raises(UserError, match=r"second.*bn_scale"):
        segment_scores(space, Importance({"conv1": np.ones(2)}, {}))
    (group,) = unscored_groups(space, Importance({"conv1": np.ones(2)}, {}))
    assert group.segments == ("second",)
