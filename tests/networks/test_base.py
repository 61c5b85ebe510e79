"""The base network on the disk comes back as it was, with what is known of it."""

import pytest
import torch
from helpers import same_weights

from evoprune import UserError, load_model, load_search_space
from evoprune.networks.base import Base, load_base, save_base

INFO = {"validation_accuracy": 91.25, "source": "trained", "preprocessing": {"mean": [0.5], "std": [0.25]}}


def test_a_base_network_comes_back_bit_by_bit_with_its_facts_and_in_eval_mode(small_space, small_base, tmp_path):
    save_base(Base(small_base.train(), INFO), small_space, tmp_path / "base")
    loaded = load_base(small_space, tmp_path / "base")
    assert same_weights(loaded.network, small_base) and loaded.info == INFO
    assert not any(module.training for module in loaded.network.modules())
    assert {value.device for value in loaded.network.state_dict().values()} == {torch.device("cpu")}
    assert same_weights(load_model(tmp_path / "base"), small_base), "it is a model as any other"


def test_a_base_network_of_another_space_is_refused(small_space, small_base, tmp_path):
    save_base(Base(small_base, INFO), small_space, tmp_path / "base")
    wider = load_search_space("resnet20", width=5, num_classes=10, in_channels=1, image_size=8)
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(4, 1, 3, 3\), the network's is \(5, 1, 3, 3\)"):
        load_base(wider, tmp_path / "base")
