"""The description of a saved model."""

import hashlib
import json

import pytest

from evoprune import UserError
from evoprune.common.model_files import DESCRIPTION_NAME, WEIGHTS_NAME, check_weights, model_folder, read_description

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
