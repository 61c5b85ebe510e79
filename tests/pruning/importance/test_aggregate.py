"""What a segment makes of the scores of its layers, by hand."""

import numpy as np
import pytest
from helpers import NINE_CODES

from evoprune import UserError, load_search_space
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.pruning.importance.magnitude import scored_layers


def test_a_segment_has_the_mean_of_its_scaled_layers(small_space):
    rng = np.random.default_rng(0)
    widths = {segment.name: segment.width for segment in small_space.segments}
    scores = {layer.name: 100 * rng.random(widths[layer.outputs]) for layer in scored_layers(small_space)}
    bits = {segment.name: segment_scores(small_space, scores)[segment.slice] for segment in small_space.segments}
    scaled = {name: values / values.mean() for name, values in scores.items()}
    assert bits["layer2.1.middle"] == pytest.approx(scaled["layer2.1.conv1"])
    third = ("layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2", "layer3.2.conv2")
    assert bits["layer3.final"] == pytest.approx(sum(scaled[name] for name in third) / 4)
    first = ("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2")
    assert bits["layer1.final"] == pytest.approx(sum(scaled[name] for name in first) / 4)
    assert (bits["stem"] == bits["layer1.final"]).all(), "an adapter ties them"


def test_layers_without_scores_do_not_count_and_zeros_stay_zeros(small_space):
    widths = {segment.name: segment.width for segment in small_space.segments}
    scores = {layer.name: np.zeros(widths[layer.outputs]) for layer in scored_layers(small_space)}
    scores["layer1.2.conv2"] = np.array([1.0, 2.0, 3.0, 2.0])
    del scores["layer1.0.conv2"], scores["layer1.1.conv2"]
    bits = {segment.name: segment_scores(small_space, scores)[segment.slice] for segment in small_space.segments}
    assert bits["stem"] == pytest.approx([0.25, 0.5, 0.75, 0.5]), "the mean with the zeros of conv1"
    assert (bits["layer3.final"] == 0).all()


def test_a_segment_of_which_no_layer_has_scores_is_a_users_mistake(tmp_path):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = load_search_space(str(tmp_path / "nine.yaml"))
    with pytest.raises(UserError, match=r"second.*bn_scale"):
        segment_scores(space, {"conv1": np.ones(2)})
