"""A saved model and the images that it is for."""

from pathlib import Path

import pytest
import torch
from made_data import write_class_folders

from evoprune import UserError
from evoprune.common.model_files import Preprocessing
from evoprune.stages.saved_model import DataRequest, check_is_model, fitted_data, read_dataset, run_file


def test_the_run_around_a_model_is_found(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = next((ran / "models").iterdir())
    assert run_file(model, "base") == ran.resolve() / "base"
    assert run_file(model, "nothing") is None and run_file(tmp_path, "base") is None
    experiment = DataRequest().experiment(model)
    assert experiment is not None and experiment.name == "tiny"
    assert DataRequest().experiment(tmp_path) is None
    monkeypatch.chdir(ran.resolve().parent)
    assert run_file(model.resolve().relative_to(ran.resolve().parent), "base") == Path(ran.name) / "base"


def test_a_named_experiment_comes_before_the_run(ran: Path):
    experiment = DataRequest("quickstart", ["data.validation=0.3"]).experiment(next((ran / "models").iterdir()))
    assert experiment is not None and experiment.name == "quickstart" and experiment.data.validation == 0.3


def test_a_network_that_is_not_trained_yet_is_named_as_such(ran: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"k0: no such file or folder; a run keeps there .*`evoprune retrain`"):
        check_is_model(ran / "models" / "k0")
    with pytest.raises(UserError, match=r"k0: no such file or folder$"):
        check_is_model(tmp_path / "k0")
    with pytest.raises(UserError, match=r"no saved model; the folder of one has model\.json$"):
        check_is_model(tmp_path)


def test_images_are_prepared_as_the_model_says(tiny):
    data = fitted_data(read_dataset(tiny(), Path("k")), Preprocessing((0.5,), (0.25,), (8, 8)), torch.device("cpu"))
    images, _ = data.validation.batch(torch.arange(3))
    torch.testing.assert_close(data.normalise(images), (images / 255 - 0.5) / 0.25)


def test_images_of_a_folder_are_decoded_beside_the_run_of_the_model(tiny, tmp_path, monkeypatch):
    data = write_class_folders(tmp_path / "photos").model_dump(mode="json", exclude={"cache"})
    model = tmp_path / "runs" / "mine" / "models" / "k1"
    model.mkdir(parents=True)
    experiment = tiny(data=data)
    (tmp_path / "runs" / "mine" / "config.yaml").write_text(experiment.to_yaml())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(read_dataset(experiment, model).test[1]) == 4
    assert (tmp_path / "runs" / "image_cache").is_dir() and not list(Path().iterdir())


def test_images_of_another_shape_are_refused(tiny):
    with pytest.raises(UserError, match=r"1x8x8 \(channels, height, width\); the model takes 3x8x9"):
        fitted_data(
            read_dataset(tiny(), Path("k")), Preprocessing((0.5,) * 3, (0.25,) * 3, (8, 9)), torch.device("cpu")
        )
