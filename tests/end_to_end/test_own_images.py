"""A folder of photographs that are not square, from `validate` to models that know their classes."""

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import refusal, write_experiment
from helpers import repeated
from PIL import Image

import evoprune
from evoprune.cli import main
from evoprune.config import load_experiment
from evoprune.data import image_cache
from evoprune.data.decoding import decode
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context

HEIGHT, WIDTH = 6, 9
CLASSES = ["bright", "dark", "red"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 20 noisy images of many sizes, as PNG and JPEG, one level deeper for every second one."""
    rng = np.random.default_rng(0)
    for name, colour in zip(CLASSES, ((220, 220, 220), (30, 30, 30), (220, 30, 30)), strict=True):
        (tmp_path / "photos" / name / "more").mkdir(parents=True)
        for number in range(20):
            noise = rng.normal(0, 20, (10 + number, 25 - number, 3))
            inside = "more/" * (number % 2) + f"{number}.{'png' if number < 10 else 'jpg'}"
            pixels = np.clip(noise + colour, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / inside)
    return tmp_path / "photos"


def experiment(photos: Path, **changes: Any) -> str:
    data = {"dataset": "image_folder", "root": str(photos), "image_size": [HEIGHT, WIDTH], "validation": 0.25}
    base = {"cache": str(photos.parent / "base"), "epochs": 2, "batch_size": 16}
    quick = {"base": base, "retrain": {"batch_size": 16, "epochs": 2}, "search_space": {"name": "resnet20", "width": 2}}
    return write_experiment(photos.parent, **{"data": data, **quick, **changes})


def test_a_run_on_photographs_ends_in_models_that_know_their_classes(photos, capsys):
    search = {"proposal": {"scop": 0.5, "evolution": 0.5}, "objectives": ["accuracy", "flops", "latency"]}
    evaluation = {"epochs": 1, "batch_size": 8, "recalibration_images": 16, "latency_limit_s": 0.1}
    changes = {"importance": {"scop": {"knockoff": "gaussian", "batch_size": 16}}, "evaluation": evaluation}
    file = experiment(photos, search=search, workers={"candidates_per_batch": 2}, **changes)
    out = photos.parent / "runs" / "one"
    assert main(["run", file, "--out", str(out)]) == 0
    assert "images: 48 for training, 12 for testing, in 3 classes (bright, dark, red)" in capsys.readouterr().out
    reports = pd.read_csv(out / "reports.csv")
    assert set(reports.status) == {"ok"}
    space = evoprune.load_search_space("resnet20", 2, num_classes=3, in_channels=3, image_size=(HEIGHT, WIDTH))
    costs = evoprune.compute_costs(space, [space.parse_code(code) for code in reports.code])
    assert reports.flops.tolist() == costs["flops"].tolist()
    front = pd.read_csv(out / "output.csv").dropna(subset="test_accuracy")
    assert (front.latency > 0).all() and (front.latency_spread >= 0).all()
    table = (out / "table.md").read_text()
    assert "| latency |" in table and "\nlatency: 1 image, fp32, " in table
    (cache,) = (photos.parent / "runs" / "image_cache").iterdir()
    assert (cache / "images.npy").is_file(), "beside the run"
    for path, accuracy in zip(front.model, front.test_accuracy, strict=True):
        about = json.loads((Path(path) / "model.json").read_text())
        assert about["classes"] == CLASSES and about["preprocessing"]["image_size"] == [HEIGHT, WIDTH]
        assert score_alone(evoprune.load_model(path), about["preprocessing"], photos, file) == pytest.approx(
            accuracy, abs=1e-3
        )
    assert json.loads((out / "run.json").read_text())["base"]["classes"] == CLASSES
    assert main(["report", str(out)]) == 0
    assert main(["prune", file, "--rate", "0.3", "--out", str(out)]) == 0
    (about,) = (out / "pruned").glob("*/step_1/model.json")
    assert json.loads(about.read_text())["classes"] == CLASSES


def score_alone(network: torch.nn.Module, how: dict[str, Any], photos: Path, file: str) -> float:
    """Accuracy in % on the test images, from the files, as somebody does it who has the model alone."""
    source = Context(load_experiment(file), RunFolder(photos.parent / "runs" / "one")).source
    wanted = {image.tobytes() for image in np.asarray(source.read().test[0])}
    mean, std = (torch.tensor(how[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    hits = []
    for path in sorted(path for path in photos.rglob("*.*") if path.is_file()):
        pixels = decode(path, *how["image_size"])
        if pixels.tobytes() in wanted:
            image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
            hits.append(int(network((image - mean) / std).argmax()) == CLASSES.index(path.relative_to(photos).parts[0]))
    assert len(hits) == 12
    return 100 * float(np.mean(hits))


def test_workers_in_other_processes_measure_the_same_from_the_file(photos, tmp_path):
    paths = {}
    for backend in ("local", "ray"):
        file = experiment(photos, workers={"backend": backend, "num_workers": 1})
        paths[backend] = tmp_path / "runs" / backend
        assert main(["search", file, "--out", str(paths[backend])]) == 0
    for name in ("reports.csv", "output.csv"):
        assert repeated(paths["ray"], name) == repeated(paths["local"], name)
    dataset = Context(load_experiment(file), RunFolder(paths["ray"])).dataset
    assert len(pickle.dumps(dataset)) < HEIGHT * WIDTH * 3 * 60 / 2, "the images do not travel"


def test_validate_decodes_and_a_run_finds_what_it_has_decoded(photos, monkeypatch):
    counts: Counter = Counter()

    def counting(path: Path, *size: int) -> Any:
        counts[path] += 1
        return decode(path, *size)

    monkeypatch.setattr(image_cache, "decode", counting)
    monkeypatch.chdir(photos.parent)
    file = experiment(photos)
    assert main(["validate", file]) == 0
    assert main(["prune", file, "--rate", "0.3"]) == 0
    assert len(counts) == 60 and set(counts.values()) == {1}


def test_corrupt_files_end_every_command_with_their_names_until_they_are_to_be_skipped(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    file = experiment(photos)
    for name in ("bright/0.png", "red/more/3.png"):
        (photos / name).write_bytes((photos / name).read_bytes()[:100])
    for command in ("validate", "run", "search"):
        capsys.readouterr()
        assert main([command, file]) == 2
        error = capsys.readouterr().err
        assert "2 of 60 files" in error and "bright/0.png: " in error and "red/more/3.png: " in error
    assert not (photos.parent / "results" / "tiny").exists()
    assert main(["validate", file, "--set", "data.skip_corrupt=true"]) == 0
    said = capsys.readouterr().out
    assert "images: 46 for training, 12 for testing" in said
    assert "images: corrupt and left out: 2 (bright/0.png, red/more/3.png)" in said


def test_a_disk_without_room_is_refused_with_what_is_needed(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2_000_000_000))
    message = refusal(capsys, "validate", experiment(photos), "--set", "data.image_size=[4096, 4000]")
    assert "data.cache: 60 images of 4096 x 4000 pixels need 2.9 GB" in message and "2.0 GB left" in message
