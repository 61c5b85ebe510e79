"""Exported files: what runs elsewhere computes what the model computes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from commands import refusal, set_all
from torch import nn

import evoprune
from evoprune import UserError
from evoprune.cli import main
from evoprune.common.model_files import Preprocessing, read_description
from evoprune.networks.sources import build_source, source_spec
from evoprune.stages.export import random_images

RUN_ONNX = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
         if name in ("mean", "std", "image_size", "channel_order", "layout", "classes")}
run = lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
"""
RUN_PT2 = """
import json, sys
import numpy as np, torch
extra = {"preprocessing.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
facts = json.loads(extra["preprocessing.json"])
run = lambda x: module(torch.from_numpy(x)).detach().numpy()
"""
REST = """
pixels = np.load(sys.argv[2])
mean, std = (np.array(facts[name], dtype=np.float32)[:, None, None] for name in ("mean", "std"))
inputs = ((pixels / np.float32(255)).transpose(0, 3, 1, 2) - mean) / std
np.save(sys.argv[3], np.concatenate([run(inputs[:1]), run(inputs)]))
assert "evoprune" not in sys.modules and (sys.argv[4] == "torch") == ("torch" in sys.modules)
print(json.dumps(facts))
"""


@pytest.fixture
def model(copied: Path) -> Path:
    """A trained network of a run."""
    return next((copied / "models").iterdir())


def elsewhere(file: Path, pixels: np.ndarray, tmp_path: Path) -> tuple[np.ndarray, dict]:
    """Outputs for the first image and for all, in a process that knows nothing of evoprune, and the file's facts."""
    np.save(tmp_path / "pixels.npy", pixels)
    script, library = (RUN_ONNX, "onnxruntime") if file.suffix == ".onnx" else (RUN_PT2, "torch")
    words = [file, tmp_path / "pixels.npy", tmp_path / "out.npy", library]
    command = [sys.executable, "-W", "error::ImportWarning", "-c", script + REST, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "out.npy"), json.loads(done.stdout)


@pytest.mark.parametrize("fold", [(), ("--fold",)], ids=["plain", "folded"])
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_file_computes_elsewhere_what_the_model_computes(model, tmp_path, capsys, kind, fold):
    assert main(["export", str(model), "--format", kind, *fold]) == 0
    said = capsys.readouterr().out
    assert "64 real images" in said and str(model / f"model.{kind}") in said
    content = (model / f"model.{kind}").read_bytes()
    assert b"/resnet_cifar.py" not in content and str(Path.home()).encode() not in content, "no path of this machine"
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)
    outputs, facts = elsewhere(model / f"model.{kind}", pixels, tmp_path)
    how = json.loads((model / "model.json").read_text())["preprocessing"]
    assert facts["mean"] == pytest.approx(how["mean"]) and facts["std"] == pytest.approx(how["std"])
    assert facts["image_size"] == [8, 8] and facts["channel_order"] == "L" and facts["layout"] == "NCHW"
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - how["mean"][0]) / how["std"][0]
    with torch.no_grad():
        truth = evoprune.load_model(model)(torch.cat([inputs[:1], inputs])).numpy()
    np.testing.assert_allclose(outputs, truth, atol=1e-4 * max(1, np.abs(truth).max()))


def test_an_onnx_file_says_what_goes_in_and_out(model, tmp_path):
    assert main(["export", str(model), "--format", "onnx", "--out", str(tmp_path / "m.onnx")]) == 0
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    ((into,), (out,)) = graph.input, graph.output
    dims = [[dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in (into, out)]
    assert (into.name, out.name, dims) == ("images", "outputs", [["batch", 1, 8, 8], ["batch", 10]])


def test_names_of_classes_are_in_the_file(model, tmp_path):
    description = read_description(model)
    (model / "model.json").write_text(json.dumps({**description, "classes": ["nought", "one", *"abcdefgh"]}))
    assert main(["export", str(model), "--format", "onnx", "--out", str(tmp_path / "digits.onnx")]) == 0
    _, facts = elsewhere(tmp_path / "digits.onnx", np.zeros((1, 8, 8, 1), np.uint8), tmp_path)
    assert facts["classes"][:2] == ["nought", "one"]


def test_without_a_run_images_are_random_and_it_says_so(model, tmp_path, capsys):
    alone = model.rename(tmp_path / "alone")
    assert main(["export", str(alone), "--format", "pt2"]) == 0
    assert "64 random images within the normalised range (no run is around the model" in capsys.readouterr().out


def test_data_that_are_not_at_hand_are_no_obstacle_unless_they_are_named(model, tmp_path, capsys):
    gone = set_all("data.dataset=npz", f"data.root={tmp_path}/gone.npz")
    assert main(["export", str(model), "--format", "pt2", *gone]) == 0
    assert "random images within the normalised range (those of its run are not at hand" in capsys.readouterr().out
    assert "gone.npz" in refusal(capsys, "export", str(model), "--format", "pt2", "--data", "quickstart", *gone)


def test_images_of_another_shape_are_refused(model, tmp_path, capsys):
    images, labels = np.zeros((20, 9, 9), np.uint8), np.arange(20) % 2
    parts = {
        f"{part}_{name}": value
        for part in ("train", "test")
        for name, value in (("images", images), ("labels", labels))
    }
    np.savez(tmp_path / "nine.npz", **parts)
    nine = set_all("data.dataset=npz", f"data.root={tmp_path}/nine.npz")
    message = refusal(capsys, "export", str(model), "--format", "pt2", "--data", "quickstart", *nine)
    assert "--data: its images are 1x9x9 (channels, height, width); the model takes 1x8x8" in message


def test_random_images_are_within_what_pixels_can_be():
    images = random_images(Preprocessing((0.5, 0.2), (0.25, 0.1), (3, 4)))
    assert images.shape[1:] == (2, 3, 4)
    low, high = (0 - 0.5) / 0.25, (1 - 0.5) / 0.25
    assert low <= images[:, 0].min() < low + 0.3 and high - 0.3 < images[:, 0].max() <= high
    assert images[:, 1].max() > 7


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.conv, self.fixed = nn.Conv2d(1, 4, 3), fixed

    def forward(self, x):
        x = torch.special.bessel_j0(self.conv(x)).mean((2, 3))
        return x.view(2, 4) if self.fixed else x

def make_net(fixed=False):
    return Net(fixed)
"""


@pytest.fixture
def own(tmp_path: Path):
    """Saves a network of a user's file; its `fixed` says whether it takes two images alone."""

    def save(fixed: bool) -> tuple[Path, str]:
        file = tmp_path / "mynet.py"
        file.write_text(OWN)
        source = f"{file}:make_net"
        spec = source_spec(source, {"fixed": fixed}, "imagenet", {"num_classes": 4, "in_channels": 1})
        how = {"mean": [0.5], "std": [0.25], "image_size": [8, 8]}
        return evoprune.save_model(build_source(spec), spec, tmp_path / "own", preprocessing=how), source

    return save


def test_a_network_of_the_users_own_needs_the_users_word(own, capsys):
    folder, source = own(False)
    assert "name it" in refusal(capsys, "export", str(folder), "--format", "pt2")
    assert main(["export", str(folder), "--format", "pt2", "--source", source]) == 0
    assert (folder / "model.pt2").is_file()


def test_what_cannot_be_exported_is_one_message_and_no_file(own, capsys):
    folder, source = own(False)
    message = refusal(capsys, "export", str(folder), "--format", "onnx", "--source", source)
    assert "bessel_j0" in message and len(message.splitlines()) == 1
    folder, source = own(True)
    message = refusal(capsys, "export", str(folder), "--format", "pt2", "--source", source)
    assert "fixes the number of images" in message and len(message.splitlines()) == 1
    assert not list(folder.glob("model.onnx")) and not list(folder.glob("*.pt2"))


def test_a_file_that_differs_is_not_kept(model, monkeypatch, capsys):
    def wrong(*_: object) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    monkeypatch.setattr("evoprune.export.pt2_files.from_pt2", wrong)
    assert "differ from PyTorch's" in refusal(capsys, "export", str(model), "--format", "pt2")
    assert not (model / "model.pt2").exists()


def test_an_input_that_nobody_describes_is_asked_for(model, tmp_path, capsys):
    description = read_description(model)
    del description["preprocessing"]
    (model / "model.json").write_text(json.dumps(description))
    alone = model.rename(tmp_path / "alone")
    assert "--data FILE" in refusal(capsys, "export", str(alone), "--format", "pt2")
    assert main(["export", str(alone), "--format", "pt2", "--data", "quickstart"]) == 0


def test_a_folder_that_is_no_model_is_refused(tmp_path, capsys):
    assert "no saved model; the folder of one has model.json" in refusal(
        capsys, "export", str(tmp_path), "--format", "onnx"
    )
    (tmp_path / "a.onnx").touch()
    assert "a.onnx: an exported file; name" in refusal(capsys, "export", str(tmp_path / "a.onnx"), "--format", "onnx")
    with pytest.raises(UserError):
        evoprune.load_model(tmp_path)
