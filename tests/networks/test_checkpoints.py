"""Models survive the disk bit by bit, without pickle; and other people's checkpoints load exactly or are refused."""

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import interrupt, same_weights, scramble

from evoprune import UserError, build_network, load_model, load_search_space, load_weights, save_model, slim_network
from evoprune.common.model_files import read_description
from evoprune.networks.build import network_spec

LOAD_IN_A_FRESH_PROCESS = """
import sys, evoprune, torch
torch.set_num_threads(1)
with torch.no_grad():
    torch.save(evoprune.load_model(sys.argv[1])(torch.load(sys.argv[2])), sys.argv[3])
"""


def option_a_logits(state: dict[str, torch.Tensor], num_blocks: int, images: torch.Tensor) -> torch.Tensor:
    """The published network, written down anew: shortcuts subsample by 2 and pad channels with zeros."""

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    x = F.relu(norm(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage, block in [(s, b) for s in (1, 2, 3) for b in range(num_blocks)]:
        name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
        out = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
        out = norm(F.conv2d(out, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if stride == 2:
            quarter = out.shape[1] // 4
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        x = F.relu(out + x)
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def read_by_hand(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file as its format says: length, JSON header, raw little-endian values."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    types = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
    return {
        name: np.frombuffer(body[slice(*row["data_offsets"])], types[row["dtype"]]).reshape(row["shape"])
        for name, row in header.items()
        if name != "__metadata__"
    }


def make_slim(space, base, seed: int = 0):
    code = np.random.default_rng(seed).integers(0, 2, space.length)
    return slim_network(space, base, code), network_spec(space, code)


# --- models of evoprune


@pytest.mark.parametrize("seed", range(4))
def test_slim_models_survive_the_disk_bit_by_bit(small_space, small_base, tmp_path, seed):
    slim, spec = make_slim(small_space, small_base, seed)
    save_model(slim.train(), spec, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert same_weights(slim, loaded)
    assert not any(module.training for module in loaded.modules())


def test_a_model_loads_in_a_fresh_process(small_space, small_base, tmp_path):
    (slim, spec), images = make_slim(small_space, small_base), torch.randn(3, 1, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    paths = [save_model(slim, spec, tmp_path / "m"), tmp_path / "images.pt", tmp_path / "logits.pt"]
    subprocess.run([sys.executable, "-c", LOAD_IN_A_FRESH_PROCESS, *map(str, paths)], check=True, cwd=tmp_path)
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "logits.pt"), slim(images))


def test_files_hold_plain_numbers_and_json(small_space, small_base, tmp_path):
    slim, spec = make_slim(small_space, small_base)
    folder = save_model(slim, spec, tmp_path / "m", key="k0", mean=[0.5])
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    arrays = read_by_hand(folder / "model.safetensors")
    assert arrays.keys() == slim.state_dict().keys()
    assert all(np.array_equal(arrays[name], value.numpy()) for name, value in slim.state_dict().items())
    description = json.loads((folder / "model.json").read_text())
    assert (description["key"], description["mean"]) == ("k0", [0.5])
    assert {**read_description(folder), "check": description["check"]} == description


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_a_file_is_as_large_as_its_parameters_and_buffers(tmp_path, density):
    space = load_search_space("resnet20")
    code = np.random.default_rng(0).random(464) < density
    slim = build_network(space, code)
    folder = save_model(slim, network_spec(space, code), tmp_path / "m")
    sizes = [value.numel() for value in (*slim.parameters(), *slim.buffers())]
    header = 150 * len(sizes)  # name, type, shape and place of each tensor
    assert 4 * sum(sizes) < (folder / "model.safetensors").stat().st_size < 4 * sum(sizes) + header


def test_weights_are_written_as_float32(small_space, small_base, tmp_path):
    save_model(small_base.double(), network_spec(small_space), tmp_path / "m")
    kinds = {value.dtype for value in read_by_hand(tmp_path / "m" / "model.safetensors").values()}
    assert kinds == {np.dtype("<f4"), np.dtype("<i8")}


def test_memory_layout_does_not_reach_the_file(small_space, small_base, tmp_path):
    save_model(small_base.to(memory_format=torch.channels_last), network_spec(small_space), tmp_path / "m")
    assert same_weights(load_model(tmp_path / "m"), small_base)


@pytest.mark.parametrize("name", ["", "model.json", "model.safetensors"])
def test_a_model_is_found_by_its_folder_or_a_file_in_it(small_space, small_base, tmp_path, name):
    save_model(small_base, network_spec(small_space), tmp_path / "m")
    assert same_weights(load_model(tmp_path / "m" / name), small_base)


def test_a_saved_model_is_a_source_of_weights(small_space, small_base, tmp_path):
    save_model(small_base, network_spec(small_space), tmp_path / "m")
    for path in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
        network = build_network(small_space)
        assert load_weights(network, path) is network
        assert same_weights(network, small_base)


def test_no_model_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"model\.json: no such file"):
        load_model(tmp_path / "nothing")


@pytest.mark.parametrize("length", [0, 4, 60, 5000])
def test_damaged_weights_are_refused(small_space, small_base, tmp_path, length):
    file = save_model(small_base, network_spec(small_space), tmp_path / "m") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "network": 5}']
)
def test_a_damaged_description_is_refused(small_space, small_base, tmp_path, text):
    folder = save_model(small_base, network_spec(small_space), tmp_path / "m")
    (folder / "model.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.json"):
        load_model(folder)


def test_a_model_half_replaced_is_none(small_space, small_base, tmp_path, monkeypatch):
    folder = save_model(small_base, network_spec(small_space), tmp_path / "m")
    monkeypatch.setattr("evoprune.networks.checkpoints.sealed", lambda facts: interrupt())
    with pytest.raises(KeyboardInterrupt):
        save_model(scramble(small_base, 1), network_spec(small_space), folder)
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


# --- checkpoints of other people


def wrappings(state: dict[str, torch.Tensor]) -> dict[str, object]:
    prefixed = {f"module.{name}": value for name, value in state.items()}
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {
        "plain": state,
        "wrapped": {"state_dict": state, "epoch": 3, "best": 91.5},
        "prefixed": prefixed,
        "wrapped and prefixed": {"state_dict": prefixed},
        "model": {"model": state},
        "before num_batches_tracked": old,
    }


@pytest.mark.parametrize("kind", wrappings({}))
def test_checkpoints_load_however_they_are_wrapped(small_space, small_base, tmp_path, kind):
    torch.save(wrappings(small_base.state_dict())[kind], tmp_path / "w.pt")
    assert same_weights(load_weights(build_network(small_space), tmp_path / "w.pt"), small_base)


@pytest.mark.parametrize(("name", "num_blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9)])
def test_real_option_a_weights_compute_the_same(pretrained, name, num_blocks):
    path = pretrained / f"{name}_cifar10_option_a.pt"
    network = load_weights(build_network(load_search_space(name)), path).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = option_a_logits(torch.load(path, weights_only=True), num_blocks, images)
        torch.testing.assert_close(network(images), wanted, atol=1e-4, rtol=0)
    assert wanted.std() > 1


def test_real_resnet20_keeps_its_test_accuracy(pretrained, cifar10_npz):
    """91.73 % of the 10,000 real test images, as published; and the published network's own logits on 1,000 of them."""
    path = pretrained / "resnet20_cifar10_option_a.pt"
    state = torch.load(path, weights_only=True)
    network = load_weights(build_network(load_search_space("resnet20")), path).eval()
    network.to(memory_format=torch.channels_last)
    with np.load(cifar10_npz) as archive:
        images, labels = archive["test_images"], archive["test_labels"]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    hits = 0
    for start in range(0, 10_000, 100):
        batch = ((torch.from_numpy(images[start : start + 100]) / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = network(batch)
            if start < 1_000:
                torch.testing.assert_close(logits, option_a_logits(state, 3, batch), rtol=1e-3, atol=1e-3)
        hits += int((logits.argmax(1).numpy() == labels[start : start + 100]).sum())
    assert hits == 9173


def change(state: dict[str, torch.Tensor], name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    changed = {**state, name: value}
    return {key: tensor for key, tensor in changed.items() if tensor is not None}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer1.0.conv1.weight", None, r"layer1\.0\.conv1\.weight is missing"),
        ("layer9.conv.weight", torch.ones(1), r"layer9\.conv\.weight is not in the network"),
        ("linear.bias", torch.ones(3), r"linear\.bias has shape \(3,\), the network's is \(10,\)"),
        ("layer2.0.shortcut.0.weight", None, r"layer2\.0\.shortcut\.0\.weight is missing"),
        ("layer2.0.shortcut.1.running_var", None, r"layer2\.0\.shortcut\.1\.running_var is missing"),
    ],
)
def test_weights_that_do_not_fit_are_named(small_space, small_base, tmp_path, name, value, message):
    torch.save(change(small_base.state_dict(), name, value), tmp_path / "w.pt")
    network = scramble(build_network(small_space), seed=5)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(network, tmp_path / "w.pt")
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_option_a_weights_of_the_base_network_do_not_fit_a_slim_network(pretrained):
    space = load_search_space("resnet20")
    code = space.full_code()
    code[-96:-64] = [1] * 3 + [0] * 29  # layer2.final: fewer channels than layer1.final
    with pytest.raises(UserError, match=r"layer2\.0\.conv2\.weight has shape"):
        load_weights(build_network(space, code), pretrained / "resnet20_cifar10_option_a.pt")


def test_a_missing_checkpoint_is_refused_by_name(small_space, tmp_path):
    for name in ("w.pt", "w.safetensors"):
        with pytest.raises(UserError, match=rf"{name}: no such file"):
            load_weights(build_network(small_space), tmp_path / name)


class Bomb:
    """Unpickling this writes the file `bombed` into the working folder."""

    def __reduce__(self):
        return (open, ("bombed", "w"))


@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_pickled_code_is_refused_and_does_not_run(small_space, tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    if save == "torch":
        torch.save({"state_dict": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(UserError, match=r"w\.pt: not a checkpoint of plain tensors"):
        load_weights(build_network(small_space), path)
    assert not (tmp_path / "bombed").exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(3), {"state_dict": {"conv1.weight": "text"}}])
def test_a_checkpoint_without_tensors_is_refused(small_space, tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no state_dict of tensors"):
        load_weights(build_network(small_space), tmp_path / "w.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
def test_a_half_downloaded_checkpoint_is_refused(small_space, small_base, tmp_path, zipped):
    path = tmp_path / "w.pt"
    torch.save(small_base.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for part in range(10):
        path.write_bytes(whole[: part * len(whole) // 10])
        with pytest.raises(UserError, match=r"w\.pt"):
            load_weights(build_network(small_space), path)


@pytest.mark.parametrize("text", [b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x00" * 64])
def test_a_file_of_something_else_is_refused(small_space, tmp_path, text):
    (tmp_path / "w.pt").write_bytes(text)
    with pytest.raises(UserError, match=r"w\.pt"):
        load_weights(build_network(small_space), tmp_path / "w.pt")
