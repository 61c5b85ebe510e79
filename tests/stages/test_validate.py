"""What would stop a run is found before it starts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import NINE_CODES
from made_data import write_class_folders

from evoprune.common.errors import UserError
from evoprune.config import Experiment
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context
from evoprune.stages.validate import validate


def check(experiment: Experiment, importances: tuple[str, ...] | None = None) -> None:
    validate(Context(experiment, RunFolder(Path("unused"))), importances)


def test_a_right_experiment_passes_and_reads_nothing_but_its_files(tiny):
    check(tiny())
    assert not Path("unused").exists()


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"mean": [0.5, 0.5]}, "data.mean"),
        ({"std": [0.5] * 3}, "data.std"),
        ({"validation": "no.npz"}, "data.validation"),
    ],
)
def test_data_keys_that_cannot_fit_are_found_early(tiny, data: dict[str, Any], key: str):
    with pytest.raises(UserError, match=key):
        check(tiny(data=data))


OWN_CONVOLUTION = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, 2, 2))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight)

def make():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), Own(), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 10),
    )
"""


def test_a_convolution_that_scop_does_not_take_is_found_before_a_training(tiny, tmp_path):
    (tmp_path / "net.py").write_text(OWN_CONVOLUTION)
    experiment = tiny(network={"source": f"{tmp_path / 'net.py'}:make"}, search_space=None)
    check(experiment, importances=("magnitude",))
    with pytest.raises(UserError, match=r"importance scop takes convolutions of torch.nn.*2 is of class Own"):
        check(experiment, importances=("scop",))


def test_a_word_that_is_neither_measured_nor_a_file_is_refused(tiny):
    with pytest.raises(UserError, match=r"search\.sensitivity: mesured: no such file.*or take `measured`, or null"):
        check(tiny(search={"sensitivity": "mesured"}))


SEARCH_MISTAKES = [
    ({"limits": {"flops": {"max": 10}}}, r"search\.limits\.flops\.max: got 10"),
    ({"num_individual": 2, "objectives": ["accuracy", "flops", "params"]}, r"search\.num_individual: got 2.*so 3"),
    ({"round_to": 100}, r"search\.round_to: got 100, but the widest segment of resnet20 has 16 channels"),
    ({"sensitivity": "no.csv"}, r"search\.sensitivity: no\.csv"),
]


@pytest.mark.parametrize(("search", "message"), SEARCH_MISTAKES)
def test_keys_of_the_search_matter_where_there_is_to_be_one(tiny, search, message):
    with pytest.raises(UserError, match=message):
        check(tiny(search=search))
    check(tiny(search=search), importances=("magnitude",))


def test_a_bound_of_what_is_not_measured_is_found_before_the_search(tiny):
    select = {"max": {"latency": 5.0}}
    with pytest.raises(UserError, match=r"retrain\.select\.max\.latency: the search does not measure latency"):
        check(tiny(retrain={"select": select}))
    check(tiny(retrain={"select": select}, search={"limits": {"latency": {"max": "50%"}}}))
    check(tiny(retrain={"select": {"max": {"flops": "50%"}}}))


def test_scop_needs_layers_with_batch_norm_only_where_it_is_computed(tiny, tmp_path):
    (tmp_path / "nine.yaml").write_text(NINE_CODES)
    space = {"name": str(tmp_path / "nine.yaml"), "width": 2}
    check(tiny(search_space=space))
    for search, importances in (({"prior": "scop"}, None), ({}, ("scop",))):
        with pytest.raises(UserError, match=r"scop.*batch norm"):
            check(tiny(search_space=space, search=search), importances)
    check(tiny(search_space=space, search={"prior": "scop"}), ("magnitude",))


def test_weights_that_are_not_there_are_named(tiny, tmp_path):
    with pytest.raises(UserError, match=r"base\.weights: nowhere\.pt: no such file"):
        check(tiny(base={"weights": "nowhere.pt"}))


def test_the_key_that_gives_the_weights_is_named(tiny, tmp_path):
    (tmp_path / "own.py").write_text("from strangers import make_branches as make\n")
    network = {"source": f"{tmp_path / 'own.py'}:make", "weights": "nowhere.pt"}
    with pytest.raises(UserError, match=r"^network\.weights: nowhere\.pt: no such file"):
        check(tiny(network=network, search_space=None))


def test_weights_that_do_not_fit_are_found_before_a_run_starts(tiny, tmp_path, small_space, small_base):
    torch.save(small_base.state_dict(), tmp_path / "there.pt")
    check(tiny(base={"weights": str(tmp_path / "there.pt")}))
    with pytest.raises(UserError, match=r"base\.weights: .*there\.pt: the weights do not fit the network: conv1"):
        check(tiny(base={"weights": str(tmp_path / "there.pt")}, search_space={"width": 5}))
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"base\.weights: .*empty\.pt: not a checkpoint"):
        check(tiny(base={"weights": str(tmp_path / "empty.pt")}))


def test_a_network_that_fits_no_memory_is_refused_before_it_is_built(tiny, monkeypatch):
    monkeypatch.setattr("evoprune.stages.validate.total_memory", lambda: 200_000)
    with pytest.raises(UserError, match=r"search_space\.width: the base network has 17,462 parameters, .* memory"):
        check(tiny())
    monkeypatch.setattr("evoprune.stages.validate.total_memory", lambda: None)
    check(tiny())


def test_images_of_a_folder_are_decoded_when_all_else_is_right(tiny, tmp_path, capsys):
    data = write_class_folders(tmp_path).model_dump()
    with pytest.raises(UserError, match=r"search\.limits"):
        check(tiny(data=data, search={"limits": {"flops": {"max": 10}}}))
    assert not (tmp_path / ".cache").exists()
    check(tiny(data=data))
    assert (tmp_path / ".cache").exists() and "16 for training, 4 for testing" in capsys.readouterr().out
    (tmp_path / "cat" / "0.png").write_text("x")
    with pytest.raises(UserError, match=r"1 of 20 files .*\n  cat/0\.png: none of the formats"):
        check(tiny(data=data))
