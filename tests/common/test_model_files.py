"""The description of a saved model."""

import hashlib
import json

import pytest

from evoprune import UserError
from evoprune.common.model_files import (
    DESCRIPTION_NAME,
    WEIGHTS_NAME,
    Preprocessing,
    check_weights,
    model_folder,
    preprocessing_of_texts,
    read_description,
    read_preprocessing,
)
from evoprune.common.seals import sealed

GOOD = {"format": 1, "network": {"family": "resnet_cifar"}, "mean": [0.5], "key": "k1"}


def test_a_model_is_named_by_its_folder_or_either_file(tmp_path):
    (tmp_path / DESCRIPTION_NAME).write_text(json.dumps(GOOD), encoding="utf-8")
    for path in (tmp_path, str(tmp_path), tmp_path / WEIGHTS_NAME, str(tmp_path / DESCRIPTION_NAME)):
        assert model_folder(path) == tmp_path
        assert read_description(path) == GOOD


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no such file; an evoprune model is a folder with model\.safetensors and model\.json"),
        (b"{", "not a model description: "),
        (b"\xff\xfe", "not a model description: "),
        (b"[]", "not a model description of format 1"),
        (json.dumps({**GOOD, "format": 2}).encode(), "not a model description of format 1"),
        (b'{"format": 1}', "network is a mapping, got None"),
        (json.dumps({**GOOD, "network": "resnet20"}).encode(), "network is a mapping, got 'resnet20'"),
        (json.dumps({**GOOD, "preprocessing": 5}).encode(), "preprocessing is a mapping, got 5"),
        (json.dumps({**GOOD, "code": 5}).encode(), "code is a text, got 5"),
        (json.dumps({**GOOD, "params": {"a": 1}}).encode(), "params is a whole number, got {'a': 1}"),
        (json.dumps({**GOOD, "accuracy": "\x1b"}).encode(), r"accuracy is a number, got '\\x1b'"),
        (json.dumps({**GOOD, "test_accuracy": float("inf")}).encode(), "test_accuracy is a number, got inf"),
        (b'{"format": 1, "network": {}, "accuracy": 1' + b"0" * 400 + b"}", "accuracy is a number, got 1000"),
        (b" " * 16_000_001, "not a model description: has more than 16,000,000 bytes"),
    ],
)
def test_what_is_no_description_is_refused_by_its_path(tmp_path, content, message):
    if content is not None:
        (tmp_path / DESCRIPTION_NAME).write_bytes(content)
    with pytest.raises(UserError, match=rf"{tmp_path / DESCRIPTION_NAME}: {message}"):
        read_description(tmp_path)


def test_weights_are_those_that_the_description_was_written_for(tmp_path):
    (tmp_path / WEIGHTS_NAME).write_bytes(b"weights")
    known = {"sha256": hashlib.sha256(b"weights").hexdigest()}
    check_weights(tmp_path, known)
    check_weights(tmp_path / DESCRIPTION_NAME, {})
    (tmp_path / WEIGHTS_NAME).write_bytes(b"weightz")
    check_weights(tmp_path, {})
    with pytest.raises(UserError, match=r"model\.safetensors: damaged weights: their checksum is not the one in"):
        check_weights(tmp_path, known)
    (tmp_path / WEIGHTS_NAME).unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        check_weights(tmp_path, {})


HOW = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "image_size": [24, 32]}
KNOWN = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), (24, 32), ("cat", "dog"))


@pytest.mark.parametrize("place", [(), ("base",)], ids=["model", "base network"])
def test_preprocessing_of_a_model_and_of_a_base_network(place):
    facts = {"preprocessing": HOW, "classes": ["cat", "dog"]}
    assert read_preprocessing({"base": facts} if place else facts) == KNOWN
    assert KNOWN.shape == (3, 24, 32)


def test_what_a_description_lacks_is_taken_from_what_is_known():
    partly = {"preprocessing": {name: HOW[name] for name in ("mean", "std")}}
    assert read_preprocessing(partly) is None
    found = read_preprocessing(partly, {"mean": [0, 0, 0], "image_size": (8, 9)})
    assert found == Preprocessing(KNOWN.mean, KNOWN.std, (8, 9))


@pytest.mark.parametrize("change", [{"mean": [0.5]}, {"mean": "red"}, {"image_size": 8}, {"std": None}])
def test_what_is_no_preprocessing_is_not_known(change):
    assert read_preprocessing({"preprocessing": {**HOW, **change}}) is None
    assert read_preprocessing({}) is None


def test_texts_of_a_file_say_it_all():
    texts = KNOWN.to_texts()
    assert json.loads(texts["channel_order"]) == "RGB" and json.loads(texts["layout"]) == "NCHW"
    assert preprocessing_of_texts(texts) == KNOWN
    assert preprocessing_of_texts({}) is None and preprocessing_of_texts({**texts, "mean": "{"}) is None


def test_a_digit_that_has_changed_is_noticed(tmp_path):
    file = tmp_path / "model.json"
    file.write_text(json.dumps(sealed({"format": 1, "network": {}, "test_accuracy": 91.25})))
    assert read_description(tmp_path) == {"format": 1, "network": {}, "test_accuracy": 91.25}
    file.write_text(file.read_text().replace("91.25", "97.25"))
    with pytest.raises(UserError, match=r"model\.json: damaged: its checksum"):
        read_description(tmp_path)
