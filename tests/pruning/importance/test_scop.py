"""SCOP: what the scales learn, what they must not learn from, and that nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import few_digits, prepared
from scipy.stats import spearmanr
from torch import Tensor, nn
from toy_network import toy

from evoprune import build_network, load_search_space, load_weights
from evoprune.common.errors import TrainingError, UserError
from evoprune.config import DataConfig, ImportanceConfig, ScopConfig, TrainingConfig
from evoprune.data.sources import load_raw_data
from evoprune.data.tensors import Data, make_data, to_split
from evoprune.evaluation.accuracy import accuracy
from evoprune.networks.device import Compute, make_compute
from evoprune.networks.traced import trace_search_space
from evoprune.pruning.channels import slim_network
from evoprune.pruning.importance import knockoffs
from evoprune.pruning.importance.aggregate import Importance, segment_scores
from evoprune.pruning.importance.knockoffs import Knockoff
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.pruning.importance.scop import controlled_layers, scop_scores
from evoprune.runs.ownership import open_run_folder
from evoprune.space.ranking import prune_uniform
from evoprune.space.space import Code, SearchSpace
from evoprune.training.batch_norm import recalibrate
from evoprune.training.loop import train

FP32, BF16 = (Compute(torch.device("cpu"), bf16) for bf16 in (False, True))
SHORT = ScopConfig(epochs=1, batch_size=32, lr=0.02)


@pytest.fixture(scope="module")
def digits() -> Data:
    """320 real training images: 10 steps an epoch at batch size 32."""
    return few_digits(320)


@pytest.fixture(scope="module")
def base(small_space: SearchSpace, digits: Data) -> nn.Module:
    """A small network that has learnt the digits."""
    torch.manual_seed(0)
    network = build_network(small_space)
    list(train(network, digits, TrainingConfig(epochs=4, batch_size=32, lr=0.1), FP32))
    network.zero_grad()
    return network


def score(space: SearchSpace, network: nn.Module, data: Data, compute: Compute = FP32, **changes: Any) -> Importance:
    seed = changes.pop("seed", 0)
    config = ImportanceConfig(scop=SHORT.model_copy(update=changes))
    return scop_scores(space, network, data, ImportanceOptions(config, compute, seed))


def replace_knockoffs(monkeypatch: pytest.MonkeyPatch, make: Callable[[Tensor, torch.Generator], Knockoff]) -> None:
    monkeypatch.setitem(knockoffs.KNOCKOFFS, "derangement", lambda examples: make)


def flat(values: Any) -> np.ndarray:
    return np.concatenate(list(values.values()))


@pytest.mark.parametrize("compute", [FP32, BF16], ids=["fp32", "bf16"])
def test_nothing_is_learnt_where_the_knockoff_is_the_image_itself(
    base: nn.Module, small_space: SearchSpace, digits: Data, compute: Compute, monkeypatch: pytest.MonkeyPatch
):
    replace_knockoffs(monkeypatch, lambda images, rng: Knockoff(images, torch.arange(len(images))))
    found = score(small_space, base, digits, compute)
    assert (flat(found.parts["k"]) == 0.5).all(), "Adam moves a scale whose gradient is not exactly 0"
    assert (flat(found.outputs) == 0).all()
    assert found.facts["mean_spearman_with_gamma"] is None


def test_channels_that_carry_the_label_are_told_from_noise():
    space, network, data = toy()
    found = score(space, network, data, epochs=12)
    k, scores = found.parts["k"]["conv"], np.abs(found.outputs["conv"])
    assert k[:4].min() > 0.9 and k[4:].min() > 0.3 and k[4:].max() < 0.7
    assert scores[:4].min() > 2 * scores[4:].max()
    code = prune_uniform(space, segment_scores(space, found), 0.5)
    assert code.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_channels_that_carry_the_label_are_found_with_the_loss_on_knockoffs_too():
    """Noise may end anywhere then: batch norm over both halves damps a knockoff's noise where k is 0 or 1."""
    space, network, data = toy()
    k = score(space, network, data, epochs=12, loss_on_knockoff=True).parts["k"]["conv"]
    assert k[:4].min() > 0.9 and k[4:].min() < 0.5


@pytest.mark.parametrize("compute", [FP32, BF16], ids=["fp32", "bf16"])
def test_scales_stay_in_range_and_leave_their_start(
    base: nn.Module, small_space: SearchSpace, digits: Data, compute: Compute
):
    found = score(small_space, base, digits, compute, lr=0.1)
    k = flat(found.parts["k"])
    assert k.min() >= 0 and k.max() == 1, "so large a learning rate leads past the end of the range"
    assert k.std() > 0.01
    assert all((values != 0.5).any() for values in found.parts["k"].values())


def test_half_of_the_precision_gives_much_the_same_scales(base: nn.Module, small_space: SearchSpace, digits: Data):
    exact, rounded = (flat(score(small_space, base, digits, compute).parts["k"]) for compute in (FP32, BF16))
    assert spearmanr(exact, rounded).statistic > 0.9


def test_the_seed_and_the_knockoffs_change_the_scores_but_not_much(
    base: nn.Module, small_space: SearchSpace, digits: Data
):
    first, again, other, gaussian = (
        flat(score(small_space, base, digits, epochs=2, **changes).outputs)
        for changes in ({}, {}, {"seed": 1}, {"knockoff": "gaussian"})
    )
    assert (first == again).all()
    for changed in (other, gaussian):
        assert 0.6 < spearmanr(first, changed).statistic < 1


def test_what_the_network_draws_comes_from_the_seed_alone(digits: Data):
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10),
    )  # fmt: skip
    space = trace_search_space(network, torch.zeros(2, 1, 8, 8))
    scores = []
    for drawn in (0, 1, 0):
        torch.manual_seed(drawn)
        before = torch.get_rng_state()
        scores.append(flat(score(space, network, digits).outputs))
        assert torch.equal(torch.get_rng_state(), before)
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != flat(score(space, network, digits, seed=1).outputs)).any()


@pytest.mark.parametrize("on_knockoff", [False, True])
def test_labels_of_the_knockoffs_count_only_where_that_is_asked_for(
    base: nn.Module,
    small_space: SearchSpace,
    digits: Data,
    on_knockoff: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    def turned(shift: int) -> np.ndarray:
        """Scales with the same knockoff images, whose labels are said to be those of others."""
        images_of = knockoffs.derangement(())

        def make(images: Tensor, rng: torch.Generator) -> Knockoff:
            knockoff = images_of(images, rng)
            assert knockoff.sources is not None
            return Knockoff(knockoff.images, knockoff.sources.roll(shift))

        replace_knockoffs(monkeypatch, make)
        return flat(score(small_space, base, digits, loss_on_knockoff=on_knockoff).parts["k"])

    assert (turned(0) == turned(1)).all() != on_knockoff


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_as_it_was(base: nn.Module, small_space: SearchSpace, digits: Data, training: bool):
    network = base.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    logits = evaluate(base, digits)
    score(small_space, base.train(training), digits)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(value.requires_grad and value.grad is None for value in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    unpruned = slim_network(small_space, network, prune_uniform(small_space, np.zeros(small_space.length), 0.0))
    assert torch.equal(evaluate(network, digits), logits) and torch.equal(evaluate(unpruned, digits), logits)


@torch.no_grad()
def evaluate(network: nn.Module, data: Data) -> Tensor:
    return network.eval()(data.normalise(data.validation.images[:32]))


def test_a_loss_that_is_not_finite_is_an_error(base: nn.Module, small_space: SearchSpace, digits: Data):
    broken = replace(digits, std=digits.std * float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        score(small_space, base, broken)


def test_convolutions_of_blocks_are_controlled_and_no_stem_shortcut_or_classifier():
    space = load_search_space("resnet56")
    blocks = [f"layer{stage}.{block}.conv{conv}" for stage in (1, 2, 3) for block in range(9) for conv in (1, 2)]
    assert [layer.name for layer in controlled_layers(space)] == blocks


def test_a_stem_whose_channels_nothing_else_scores_is_controlled_too(small_space: SearchSpace):
    layers = tuple(layer for layer in small_space.layers if layer.kind != "adapter")
    names = [layer.name for layer in controlled_layers(replace(small_space, layers=layers))]
    assert names[0] == "conv1" and len(names) == 19


def test_a_network_without_batch_norm_is_a_users_mistake(small_space: SearchSpace):
    layers = tuple(replace(layer, norm=None) for layer in small_space.layers)
    with pytest.raises(UserError, match=r"needs a batch norm .* write to layer1\.0\.middle"):
        controlled_layers(replace(small_space, layers=layers))


@pytest.mark.parametrize("kind", [nn.ConvTranspose2d, nn.Conv1d])
def test_other_convolutions_have_scores(digits: Data, kind: Callable[..., nn.Module]):
    norm, flat = (nn.BatchNorm1d, nn.Flatten(2)) if kind is nn.Conv1d else (nn.BatchNorm2d, nn.Identity())
    layers = [nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), flat, kind(4, 6, 2), norm(6), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.LazyLinear(10))
    network(torch.zeros(2, 1, 8, 8))
    space = trace_search_space(network, torch.zeros(2, 1, 8, 8))
    assert score(space, network, digits).outputs["3"].shape == (6,)


def test_scores_are_those_computed_by_hand_from_what_a_run_keeps(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture
):
    experiment = tiny(search={"prior": "scop"}, importance={"scop": {"epochs": 0.5, "batch_size": 64}})
    with open_run_folder(tmp_path / "run", experiment) as folder:
        context = prepared(experiment, folder)
        facts = folder.facts()["importance"]["scop"]
    kept = pd.read_csv(tmp_path / "run" / "importance" / "scop_layers.csv")
    by_hand = kept["gamma"].abs() * (2 * kept["k"] - 1)
    means = by_hand.abs().groupby(kept["layer"]).transform("mean")
    np.testing.assert_allclose(kept["score"], by_hand / means, rtol=1e-12)
    for name, rows in kept.groupby("layer"):
        norm = context.base.network.get_submodule(str(name).replace("conv", "bn"))
        np.testing.assert_array_equal(rows["gamma"], norm.weight.detach().double())
        ours = facts["layers"][name]
        expected = spearmanr(rows["score"], rows["gamma"].abs()).statistic
        assert ours["spearman_with_gamma"] == pytest.approx(expected, abs=1e-4)
        assert ours["share_k_above_0.99"] == pytest.approx((rows["k"] > 0.99).mean(), abs=1e-4)
    assert facts["knockoff"] == "derangement" and facts["steps"] == 8 and facts["seconds"] > 0
    assert facts["k_mean"] == pytest.approx(kept["k"].mean(), abs=1e-4)
    assert facts["k_std"] == pytest.approx(kept["k"].std(ddof=0), abs=1e-4)
    _check_segments(context.space, kept, context.scores("scop"))
    assert "warning: importance.scop: 8 steps of 0.004 leave every scale near its start" in capsys.readouterr().out


def _check_segments(space: SearchSpace, kept: pd.DataFrame, scores: np.ndarray) -> None:
    """By hand: the mean of a segment's layers, each over its mean absolute score; the stem's is layer1.final's."""
    by_layer = {str(name): rows["score"].to_numpy() for name, rows in kept.groupby("layer")}
    scaled = {name: values / np.abs(values).mean() for name, values in by_layer.items()}
    for segment in space.segments:
        trunk = {"stem": "layer1.final"}.get(segment.name, segment.name)
        if trunk.endswith(".final"):
            stage = trunk.removesuffix(".final")
            expected = np.mean([scaled[f"{stage}.{block}.conv2"] for block in range(3)], axis=0)
        else:
            expected = scaled[trunk.replace("middle", "conv1")]
        np.testing.assert_allclose(scores[segment.slice], expected, atol=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.45, 0.99])
def test_a_pruning_takes_exactly_the_rate_of_every_segment(
    base: nn.Module, small_space: SearchSpace, digits: Data, rate: float
):
    scores = segment_scores(small_space, score(small_space, base, digits))
    widths = small_space.widths(prune_uniform(small_space, scores, rate))
    assert widths == {s.name: max(1, s.width - int(rate * s.width + 1e-9)) for s in small_space.segments}


def test_a_training_too_short_to_say_much_is_named(
    base: nn.Module, small_space: SearchSpace, digits: Data, capsys: pytest.CaptureFixture
):
    assert score(small_space, base, digits).warnings == ()
    (warning,) = score(small_space, base, digits, epochs=0.1).warnings
    assert "1 steps of 0.02 leave every scale near its start" in warning
    assert capsys.readouterr().out == ""


def test_loss_on_knockoffs_without_labels_is_a_users_mistake(tiny: Any):
    with pytest.raises(UserError, match=r"importance\.scop\.loss_on_knockoff: got True; allowed: false where"):
        tiny(importance={"scop": {"knockoff": "gaussian", "loss_on_knockoff": True}})


def test_channels_it_finds_unimportant_are_so_on_real_images(cifar10_npz: Path, pretrained: Path):
    compute = make_compute("cpu", "auto")  # bfloat16 where the CPU has it
    space = load_search_space("resnet20", num_classes=10, in_channels=3, image_size=32)
    network = load_weights(build_network(space), pretrained / "resnet20_cifar10_option_a.pt").eval()
    config = DataConfig(dataset="npz", root=str(cifar10_npz), validation=0.1)
    raw = load_raw_data(config)
    data = make_data(raw, config, compute.device)
    scores = segment_scores(space, score(space, network, data, compute, epochs=1, lr=0.02))
    test = to_split(raw.test, compute.device).evenly(600)

    def measure(code: Code) -> float:
        slim = slim_network(space, network, code)
        recalibrate(slim, data, 256, compute)
        return accuracy(slim, data, test, compute)

    rng = np.random.default_rng(0)
    lowest, highest = (measure(prune_uniform(space, sign * scores, 0.25)) for sign in (1, -1))
    random = np.mean([measure(prune_uniform(space, rng.random(space.length), 0.25)) for _ in range(5)])
    assert lowest > random > highest
