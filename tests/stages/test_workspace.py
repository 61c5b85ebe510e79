"""The workspace: networks and masks as they lie on the disk, and files that are damaged."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from steps import files_of, workspace_of

from evoprune import UserError
from evoprune.runs.rounds import rounds_of


def test_a_network_begins_as_the_base_network_and_is_a_copy(stepped):
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    workspace = workspace_of(run)
    (run / "steps" / "round_1").rename(run / "steps" / "gone")
    network, masks, code = workspace.start()
    assert masks == {} and code.all() and not workspace.example.requires_grad
    before = workspace.context.base.network.conv1.weight.clone()
    with torch.no_grad():
        network.conv1.weight.zero_()
    assert torch.equal(workspace.context.base.network.conv1.weight, before)


@pytest.mark.parametrize("damage", ["gone", "empty", "type", "shape", "name"])
def test_damaged_masks_are_refused(steps, damage):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    path = run / "steps/round_1/pruned/masks.safetensors"
    masks = load_file(path)
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        mask = masks.pop("conv1.weight")
        other = {"type": ("conv1.weight", mask.float()), "shape": ("conv1.weight", mask[:1]), "name": ("conv9", mask)}
        save_file({**masks, other[damage][0]: other[damage][1].contiguous()}, path)
    workspace = workspace_of(run)
    with pytest.raises(UserError, match=r"masks\.safetensors"):
        workspace.load(rounds_of(workspace.context.folder)[0], "pruned")
    before = files_of(run)
    steps("finetune", status=2)
    assert files_of(run) == before


def test_weights_other_than_those_that_were_left_are_refused(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    path = run / "steps/round_1/pruned/model.safetensors"
    state = load_file(path)
    state["conv1.weight"][0] += 1
    save_file(state, path)
    before = files_of(run)
    steps("finetune", status=2)
    message = capsys.readouterr().err
    assert "model.safetensors: damaged weights" in message and f"; delete {path.parent}, and the command" in message
    assert files_of(run) == before
