"""The step that makes a network lighter: equal outputs, channels really gone, CSR where it is faster."""

import json

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from commands import refusal, set_all
from steps import files_of, summary, workspace_of
from torch import nn

from evoprune import load_model
from evoprune.cli import main
from evoprune.networks.sparse_linear import CsrLinear
from evoprune.stages import transform as module
from evoprune.stages.transform import choose_csr, largest_difference


def outputs(path, workspace):
    inputs = workspace.data.normalise(workspace.data.validation.batch(torch.arange(50))[0])
    with torch.no_grad():
        return load_model(path)(inputs)


def test_channels_are_really_gone_and_outputs_are_those_of_the_masked_network(stepped):
    run = stepped("prune", "--rate", "0.5", "--step")
    stepped("finetune")
    stepped("transform")
    table, workspace = summary(run), workspace_of(run)
    masked, light = table.loc[(1, "finetuned")], table.loc[(1, "transformed")]
    assert light.params == light.nonzero_params == masked.nonzero_params < masked.params
    assert light.flops == masked.nonzero_flops <= 0.5 * table.flops[0, "base"]
    assert light.file_bytes < masked.file_bytes and light.accuracy == masked.accuracy
    folder = run / "steps/round_1"
    torch.testing.assert_close(outputs(folder / "transformed", workspace), outputs(folder / "finetuned", workspace),
                               rtol=1e-5, atol=1e-5)  # fmt: skip
    slim = load_model(folder / "transformed")
    assert slim.conv1.weight.shape[0] < load_model(folder / "finetuned").conv1.weight.shape[0]


@pytest.mark.parametrize("csr_is_faster", [True, False])
def test_a_sparse_linear_layer_becomes_csr_only_where_that_is_faster(steps, monkeypatch, capsys, csr_is_faster):
    """The classifier, named; and zeros are kept either way."""
    run = steps("prune", "--weights", *set_all("weights.layers={linear: 0.95}"))
    steps("finetune")
    times = (2.0, 1.0) if csr_is_faster else (1.0, 2.0)
    monkeypatch.setattr(module, "linear_times_ms", lambda linear, batch: times)
    capsys.readouterr()
    steps("transform")
    printed = capsys.readouterr().out
    description = json.loads((run / "steps/round_1/transformed/model.json").read_text())
    stored = "csr" if csr_is_faster else "dense"
    assert description["csr_from"] == 0.7 and description["linear_layers"]["linear"]["stored"] == stored
    assert f"{times[1]:.3f} ms: {stored}" in printed
    light = load_model(run / "steps/round_1/transformed")
    assert isinstance(light.linear, CsrLinear if csr_is_faster else nn.Linear)
    workspace = workspace_of(run)
    folder = run / "steps/round_1"
    torch.testing.assert_close(outputs(folder / "transformed", workspace), outputs(folder / "finetuned", workspace),
                               rtol=1e-5, atol=1e-5)  # fmt: skip
    table = summary(run)
    assert bool(table.params[1, "transformed"] < table.params[1, "finetuned"]) is csr_is_faster
    assert bool(table.file_bytes[1, "transformed"] < table.file_bytes[1, "finetuned"]) is csr_is_faster
    assert main(["evaluate", str(folder / "transformed"), "--out", str(run.parent / "compared")]) == 0
    compared = pd.read_csv(run.parent / "compared" / "evaluation.csv").iloc[-1]
    assert (compared.params, compared.flops) == (table.params[1, "transformed"], table.flops[1, "transformed"])
    if csr_is_faster:
        message = refusal(capsys, "export", str(folder / "transformed"), "--format", "pt2")
        assert "stored as sparse rows, which no exporter takes: linear; " in message and "csr_from=1" in message


def test_layers_below_the_threshold_are_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(module, "linear_times_ms", lambda *_: pytest.fail("timed"))
    network = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4))
    with torch.no_grad():
        network[1].weight[:2] = 0
    found = choose_csr(network, 0.7, 1, torch.zeros(1, 4))
    assert found == {"0": {"zeros": 0.0, "stored": "dense"}, "1": {"zeros": 0.5, "stored": "dense"}}
    assert "1: 50.0% zeros, below 70%: dense" in capsys.readouterr().out


def test_a_layer_whose_weight_the_forward_reads_itself_stays_dense(monkeypatch, capsys):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 4)

        def forward(self, x):
            return self.last(F.linear(x, self.first.weight, self.first.bias))

    monkeypatch.setattr(module, "linear_times_ms", lambda *_: (2.0, 1.0))
    network = Reads().eval()
    found = choose_csr(network, 0.0, 1, torch.zeros(1, 4))
    assert {name: facts["stored"] for name, facts in found.items()} == {"first": "dense", "last": "csr"}
    printed = capsys.readouterr().out
    assert "CSR 1.000 ms, with which the network does not run (TypeError: linear(): argument 'weight'" in printed
    assert isinstance(network.last, nn.Linear)


def test_a_network_that_differs_is_not_left(stepped, monkeypatch, capsys):
    run = stepped("prune", "--rate", "0.5", "--step")
    stepped("finetune")
    before = files_of(run)
    real = module.slim_network

    def wrong(*arguments):
        slim = real(*arguments)
        with torch.no_grad():
            slim.linear.bias[0] += 0.01
        return slim

    monkeypatch.setattr(module, "slim_network", wrong)
    stepped("transform", status=1)
    assert "outputs differ" in capsys.readouterr().err and not (run / "steps/round_1/transformed").exists()
    assert {name: content for name, content in files_of(run).items() if name != "run.json"} == {
        name: content for name, content in before.items() if name != "run.json"
    }


def test_the_largest_difference_is_a_share_of_the_largest_output(stepped):
    run = stepped("prune", "--weights", "--sparsity", "0.5")
    workspace = workspace_of(run)
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    second = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        second[1].weight.copy_(first[1].weight)
        second[1].bias.copy_(torch.tensor([0.0, 0.25]))
    assert largest_difference(workspace, first, first) == 0
    with torch.no_grad():
        inputs = workspace.data.normalise(workspace.data.validation.images)
        largest = max(1.0, float(first(inputs).abs().max()))
    assert largest_difference(workspace, first, second) == pytest.approx(0.25 / largest, rel=1e-4)


def test_a_round_that_is_not_fine_tuned_is_refused(steps, capsys):
    run = steps("prune", "--weights", "--sparsity", "0.5")
    before = files_of(run)
    steps("transform", status=2)
    assert "not fine-tuned yet" in capsys.readouterr().err and files_of(run) == before
