"""What would stop a run is found before it starts, and an attempt that came to nothing blocks no better one."""

from pathlib import Path
from typing import Any

import pytest

from evoprune.stages.base import base_folder
from evoprune.cli import main
from evoprune.data.sources import load_raw_data
from evoprune.common.errors import UserError
from evoprune.stages.context import check_experiment, make_space


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"mean": [0.5, 0.5]}, "data.mean"),
        ({"std": [0.5] * 3}, "data.std"),
        ({"validation": "no.npz"}, "data.validation"),
    ],
)
def test_data_keys_that_cannot_fit_are_found_early(make_experiment: Any, data: dict[str, Any], key: str):
    with pytest.raises(UserError, match=key):
        check_experiment(make_experiment(data=data))


def test_a_corrected_experiment_takes_over_a_folder_without_results(make_experiment: Any, tmp_path: Path):
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(make_experiment(data={"validation": "own"}).to_yaml())
    assert main(["run", str(config), "--out", str(out)]) == 2
    config.write_text(make_experiment().to_yaml())
    assert main(["search", str(config), "--out", str(out)]) == 0


def test_base_networks_of_other_images_are_other_base_networks(make_experiment: Any):
    experiment = make_experiment()
    space, raw = make_space(experiment), load_raw_data(experiment.data)
    images, labels = raw.train
    changed = type(raw)((255 - images, labels), raw.test, raw.validation, raw.num_classes)
    assert base_folder(experiment, space, raw) == base_folder(experiment, space, load_raw_data(experiment.data))
    assert base_folder(experiment, space, raw) != base_folder(experiment, space, changed)
