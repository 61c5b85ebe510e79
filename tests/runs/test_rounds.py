"""Rounds of the four steps: which may come next, and what is said where none may."""

import json

import pytest

from evoprune import UserError
from evoprune.runs.folder import RunFolder
from evoprune.runs.rounds import (
    base_digest,
    check_origin,
    describe,
    round_to_finetune,
    round_to_prune,
    round_to_transform,
    rounds_of,
)

HALF = {"kind": "weights", "weights": {"sparsity": 0.5, "layers": {}}}
MORE = {"kind": "weights", "weights": {"sparsity": 0.8, "layers": {"conv1": 0.1}}}
TRAINING = {"epochs": 2, "lr": 0.1}


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    return RunFolder(tmp_path)


def leave(folder: RunFolder, number: int, state: str, pruning: dict = HALF, **facts) -> None:
    path = folder.steps / f"round_{number}" / state
    path.mkdir(parents=True)
    known = {"search_space": "net", "base": base_digest(folder)}
    description = {"format": 1, "network": {}, "pruning": pruning, **known, **facts}
    (path / "model.json").write_text(json.dumps(description))


def test_the_first_step_prunes(folder):
    assert rounds_of(folder) == [] and round_to_prune(folder, HALF).number == 1
    for step in (lambda: round_to_finetune(folder, TRAINING), lambda: round_to_transform(folder, 0.7)):
        with pytest.raises(UserError, match=r"nothing to (fine-tune|transform): no .*round_1.*evoprune prune"):
            step()


def test_a_pruned_round_is_fine_tuned_next_and_the_same_pruning_is_done(folder):
    leave(folder, 1, "pruned")
    assert round_to_prune(folder, HALF).number == round_to_finetune(folder, TRAINING).number == 1
    with pytest.raises(UserError, match=r"round_1 is pruned \(weights, sparsity 0.5\) and not fine-tuned.*finetune"):
        round_to_prune(folder, MORE)
    with pytest.raises(UserError, match="not fine-tuned yet; run `evoprune finetune"):
        round_to_transform(folder, 0.7)


def test_a_fine_tuned_round_is_transformed_or_pruned_on(folder):
    leave(folder, 1, "pruned")
    leave(folder, 1, "finetuned", training=TRAINING)
    assert round_to_transform(folder, 0.7).number == round_to_finetune(folder, TRAINING).number == 1
    assert round_to_prune(folder, HALF).number == 1 and round_to_prune(folder, MORE).number == 2
    with pytest.raises(UserError, match=r"fine-tuned already, with retrain\.epochs 2;"):
        round_to_finetune(folder, {"epochs": 3, "lr": 0.1})
    leave(folder, 1, "transformed", csr_from=0.7)
    assert round_to_transform(folder, 0.7).number == 1
    with pytest.raises(UserError, match=r"transformed already, with weights\.csr_from 0\.7; delete .*transformed"):
        round_to_transform(folder, 1.0)


def test_rounds_that_began_with_another_network_are_refused(folder):
    leave(folder, 1, "pruned")
    check_origin(folder, "net")
    with pytest.raises(UserError, match="another network"):
        check_origin(folder, "other")
    (folder.base / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="another network"):
        check_origin(folder, "net")
    (folder.base / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no such file"):
        check_origin(folder, "net")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1, "network": {}}', '{"format": 1, "network": {}, "pruning": 3}']
)
def test_a_damaged_description_is_refused(folder, text):
    leave(folder, 1, "pruned")
    (folder.steps / "round_1" / "pruned" / "model.json").write_text(text)
    with pytest.raises(UserError):
        round_to_prune(folder, HALF)


def test_a_pruning_in_a_few_words():
    assert describe({"kind": "channels", "target": "rate-0.3"}) == "channels, rate-0.3"
    assert describe(MORE) == "weights, sparsity 0.8, {'conv1': 0.1}"
