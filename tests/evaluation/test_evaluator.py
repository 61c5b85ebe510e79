"""Codes in, measurements out: what a measurement holds, depends on, and survives, alone and together with others."""

import pickle
import time
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import few_digits, load_data
from torch import Tensor, nn

from evoprune import build_network, compute_costs
from evoprune.config import DataConfig, EvaluationConfig, Fidelity
from evoprune.data.sources import load_raw_data
from evoprune.data.tensors import Data, TensorSplit
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.latency import Comparison
from evoprune.evaluation.latency_meter import LatencyMeter
from evoprune.networks.device import CPU
from evoprune.space.space import Code, SearchSpace
from evoprune.training.stacked_training import StackedTraining
from evoprune.workers.turns import Turns

DIGITS = DataConfig(dataset="digits", validation=0.2, crop=1, flip=False)
FAST = Comparison(0.5, 1.0, 3.0)
SHORT = EvaluationConfig(batch_size=32, lr=0.05, recalibration_images=128)


@pytest.fixture(scope="module")
def data() -> Data:
    return few_digits(256)


@pytest.fixture
def evaluator(small_space: SearchSpace, small_base: nn.Module, data: Data) -> Evaluator:
    return Evaluator(small_space, small_base, data, SHORT, CPU, seed=0)


def quick_meter(evaluator: Evaluator, name: Any) -> LatencyMeter:
    """Measures latency for a moment only."""
    quick = evaluator.config.model_copy(update={"latency_limit_s": 0.05})
    return LatencyMeter(quick, evaluator.space, evaluator.base, evaluator.data, CPU, Turns(f"test-{name}"))


def random_codes(space: SearchSpace, count: int) -> np.ndarray:
    codes = np.random.default_rng(0).integers(0, 2, (count, space.length), dtype=np.uint8)
    return np.stack([space.repair(code) for code in codes])


def timeless(measurement: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measurement.items() if name != "seconds"}


def test_a_measurement_has_the_accuracy_and_the_costs(evaluator, small_space):
    code = random_codes(small_space, 1)[0]
    (measured,) = evaluator.evaluate([code], Fidelity(0.5))
    assert (measured["status"], measured["error"]) == ("ok", None)
    assert 0 <= measured["accuracy"] <= 100
    for name, value in compute_costs(small_space, code).items():
        assert measured[name] == value[0]
    assert measured["seconds"] > 0 and "latency" not in measured


def test_accuracy_is_that_of_a_recalibrated_network_on_the_validation_split(evaluator, small_space, data):
    """The full network, recalibrated by torch's own cumulative average and scored by hand."""
    config = SHORT.model_copy(update={"recalibration_images": len(data.train)})
    plain = replace(data, crop=0)
    (measured,) = replace(evaluator, config=config, data=plain).evaluate([small_space.full_code()], Fidelity(0))
    network = pickle.loads(pickle.dumps(evaluator.base))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(plain.normalise(plain.train.images))
        answers = network.eval()(plain.normalise(plain.validation.images)).argmax(1)
    share = 100 * (answers == plain.validation.labels).double().mean().item()
    assert measured["accuracy"] == pytest.approx(share, abs=100.1 / len(answers))  # one image may fall to rounding


def test_the_same_code_measures_the_same(evaluator, small_space):
    code = random_codes(small_space, 1)[0]
    first, again = (timeless(evaluator.evaluate([code], Fidelity(0.5))[0]) for _ in range(2))
    assert first == again


def test_what_was_measured_before_has_no_say(evaluator, small_space):
    codes = random_codes(small_space, 4)
    together = [timeless(measured) for measured in evaluator.evaluate(codes, Fidelity(0.5))]
    alone = [timeless(evaluator.evaluate([code], Fidelity(0.5))[0]) for code in codes[::-1]][::-1]
    assert together == alone
    assert len({measured["flops"] for measured in together}) > 1


def test_the_base_network_stays_as_it_is(evaluator, small_space):
    before = {name: value.clone() for name, value in evaluator.base.state_dict().items()}
    evaluator.evaluate([small_space.full_code(), *random_codes(small_space, 1)], Fidelity(0.5))
    after = evaluator.base.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not evaluator.base.training


def test_the_seed_and_the_fidelity_decide_the_training(evaluator, small_space):
    codes = random_codes(small_space, 3)

    def scores(evaluator: Evaluator, epochs: float) -> tuple[float, ...]:
        return tuple(measured["accuracy"] for measured in evaluator.evaluate(codes, Fidelity(epochs)))

    other_seed = replace(evaluator, seed=1)
    assert len({scores(evaluator, 0), scores(evaluator, 0.5), scores(other_seed, 0.5), scores(evaluator, 2.0)}) == 4


def test_every_candidate_sees_the_same_images_in_the_same_order(evaluator, small_space, monkeypatch):
    seeds = []
    monkeypatch.setattr("evoprune.evaluation.evaluator.train", lambda *arguments: seeds.append(arguments[4].seed) or [])
    evaluator.evaluate(random_codes(small_space, 3), Fidelity(0.5))
    evaluator.evaluate(random_codes(small_space, 1), Fidelity(1.0))
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]


@pytest.mark.parametrize(("change", "reason"), [({"time_limit_s": 1e-9}, "time limit"), ({"lr": 1e30}, "not finite")])
def test_a_failing_candidate_is_a_measurement_with_its_reason(evaluator, small_space, change, reason):
    failing = replace(evaluator, config=SHORT.model_copy(update=change))
    code = small_space.full_code()
    first, second = failing.evaluate([code, code], Fidelity(1.0))
    for measured in (first, second):
        assert measured["status"] == "failed" and reason in measured["error"]
        assert measured["flops"] == compute_costs(small_space, code)["flops"][0]
        assert measured.get("accuracy") is None and measured["seconds"] >= 0


def test_after_a_failure_the_next_candidate_is_measured(evaluator, small_space):
    codes = random_codes(small_space, 2)
    alone = timeless(evaluator.evaluate([codes[1]], Fidelity(0.5))[0])
    first_weight = next(iter(evaluator.base.state_dict()))
    broken = pickle.loads(pickle.dumps(evaluator.base))
    gone = np.flatnonzero(small_space.split(codes[1])["stem"] == 0)[0]  # a channel that the second code does not keep
    with torch.no_grad():
        broken.state_dict()[first_weight][gone] = float("nan")
        broken.state_dict()["bn1.bias"][gone] = float("nan")
    bad, good = replace(evaluator, base=broken).evaluate([small_space.full_code(), codes[1]], Fidelity(0.5))
    assert bad["status"] == "failed" and "not finite" in bad["error"]
    assert timeless(good) == alone and good["status"] == "ok"


def test_latency_is_measured_when_asked_for(evaluator, small_space, tmp_path):
    timed = replace(evaluator, meter=quick_meter(evaluator, tmp_path))
    (measured,) = timed.evaluate([small_space.full_code()], Fidelity(0), timed=True)
    assert 0 < measured["latency"] < 10_000 and measured["latency_spread"] >= 0
    assert "latency" not in timed.evaluate([small_space.full_code()], Fidelity(0))[0]


def test_an_evaluator_travels_to_another_process(evaluator, small_space):
    codes = random_codes(small_space, 2)
    copy = pickle.loads(pickle.dumps(evaluator))
    assert [timeless(m) for m in copy.evaluate(codes, Fidelity(0.5))] == [
        timeless(m) for m in evaluator.evaluate(codes, Fidelity(0.5))
    ]


def reachable_tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if is_dataclass(value) and not isinstance(value, type):
        return [tensor for field in fields(value) for tensor in reachable_tensors(getattr(value, field.name))]
    return []


def test_no_test_image_is_in_reach(small_space):
    raw = load_raw_data(DIGITS)
    test_images = {image.tobytes() for image in raw.test[0]}
    evaluator = Evaluator(small_space, build_network(small_space), load_data(DIGITS, CPU.device), SHORT, CPU, seed=0)
    images = [tensor for tensor in reachable_tensors(evaluator) if tensor.dtype == torch.uint8]
    assert sum(map(len, images)) == len(raw.train[0])
    seen = {image.permute(1, 2, 0).contiguous().numpy().tobytes() for tensor in images for image in tensor}
    assert len(test_images) == len(raw.test[0]) and not seen & test_images


def test_a_rung_scores_some_of_the_validation_images(small_space, evaluator):
    codes = [small_space.full_code()]
    images = evaluator.data.validation
    seventh = replace(evaluator.data, validation=TensorSplit(images.images[::7], images.labels[::7]))
    few = len(seventh.validation)
    assert len(images) == 7 * few
    expected = replace(evaluator, data=seventh).evaluate(codes, Fidelity(0.5))[0]["accuracy"]
    assert evaluator.evaluate(codes, Fidelity(0.5, validation_images=few))[0]["accuracy"] == expected
    everything = evaluator.evaluate(codes, Fidelity(0.5))[0]["accuracy"]
    assert evaluator.evaluate(codes, Fidelity(0.5, validation_images=10**6))[0]["accuracy"] == everything


@pytest.mark.parametrize(("epochs", "times"), [(0.0, 1), (3.5, 1), (3.75, 0)], ids=["none", "28 steps", "30 steps"])
def test_only_what_trains_too_little_is_recalibrated(evaluator, small_space, monkeypatch, epochs, times):
    seen = []
    monkeypatch.setattr("evoprune.evaluation.evaluator.recalibrate", lambda network, *_: seen.append(network))
    assert evaluator.evaluate([small_space.full_code()], Fidelity(epochs))[0]["status"] == "ok"
    assert len(seen) == times  # 8 steps an epoch


# --- candidates that train together: everything in float64, where the order of sums does not show

TOGETHER = EvaluationConfig(epochs=1.5, batch_size=32, lr=0.05, recalibration_images=120)
SEED = 7


@pytest.fixture
def exact_base(float64: None, small_base: nn.Module) -> nn.Module:
    return small_base.double()


def all_timeless(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [timeless(row) for row in measured]


def make_evaluator(space, base, data, at_once: int, **changes: Any) -> Evaluator:
    return Evaluator(space, base, data, TOGETHER.model_copy(update=changes), CPU, SEED, candidates_at_once=at_once)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("epochs", [0.0, 0.6])
@pytest.mark.parametrize("at_once", [3, 4, 64])
def test_how_many_train_at_once_changes_no_measurement(
    small_space, exact_base, exact_data, mixed_codes, epochs, at_once
):
    alone = make_evaluator(small_space, exact_base, exact_data, 1).evaluate(mixed_codes, Fidelity(epochs))
    together = make_evaluator(small_space, exact_base, exact_data, at_once).evaluate(mixed_codes, Fidelity(epochs))
    assert all_timeless(together) == all_timeless(alone)
    assert len({row["accuracy"] for row in alone}) > 1 and all(row["seconds"] > 0 for row in together)


def test_together_too_a_candidate_that_fails_is_a_row_with_its_reason(small_space, exact_base, exact_data, mixed_codes):
    code = small_space.full_code()
    code[small_space.segments[0].start] = 0
    with torch.no_grad():
        exact_base.get_submodule("layer1.0.conv1").weight[0] = float("nan")
    evaluator = make_evaluator(small_space, exact_base, exact_data, 2)
    for epochs, reason in ((0.0, "output is not finite"), (0.4, "loss is not finite")):
        sound, broken = evaluator.evaluate([code, small_space.full_code()], Fidelity(epochs))
        assert (sound["status"], broken["status"]) == ("ok", "failed") and reason in broken["error"]
        assert all_timeless([sound]) == all_timeless(
            make_evaluator(small_space, exact_base, exact_data, 1).evaluate([code], Fidelity(epochs))
        )
        assert broken["flops"] > sound["flops"] and "accuracy" not in broken


def test_together_they_have_the_sum_of_their_time_limits(small_space, exact_base, exact_data, mixed_codes):
    rows = make_evaluator(small_space, exact_base, exact_data, 3, time_limit_s=1e-9).evaluate(
        mixed_codes[:3], Fidelity(0.2)
    )
    assert ["time limit" in row["error"] for row in rows] == [True] * 3
    evaluator = make_evaluator(small_space, exact_base, exact_data, 3, time_limit_s=2.0)
    assert evaluator._deadline(3) == pytest.approx(time.monotonic() + 6.0, abs=0.5)


def test_where_too_many_do_not_fit_half_as_many_are_tried(
    small_space, exact_base, exact_data, mixed_codes, monkeypatch
):
    sizes = []

    def load(stacked: StackedTraining, batch: list[Code], changes: list[dict[str, Tensor]]) -> None:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        original(stacked, batch, changes)

    original = StackedTraining.load
    monkeypatch.setattr(StackedTraining, "load", load)
    evaluator = make_evaluator(small_space, exact_base, exact_data, 6)
    with pytest.warns(UserWarning, match="[63] candidates at once failed, trying half as many: CUDA out of memory"):
        rows = evaluator.evaluate(mixed_codes, Fidelity(0.0))
    assert sizes == [6, 3] and all_timeless(rows) == all_timeless(
        make_evaluator(small_space, exact_base, exact_data, 1).evaluate(mixed_codes, Fidelity(0.0))
    )
    evaluator.evaluate(mixed_codes, Fidelity(0.0))
    assert sizes == [6, 3]  # the worker remembers


def test_latency_is_that_of_the_slim_network(small_space, exact_base, exact_data, mixed_codes, monkeypatch, tmp_path):
    seen = []
    measure = "evoprune.evaluation.latency_meter.compare_networks"
    monkeypatch.setattr(measure, lambda network, *_: seen.append(network) or FAST)
    evaluator = make_evaluator(small_space, exact_base, exact_data, 2)
    timed = replace(evaluator, meter=quick_meter(evaluator, tmp_path))
    rows = timed.evaluate(mixed_codes[:2], Fidelity(0.0), timed=True)
    assert [row["latency"] for row in rows] == [1.5] * 2
    assert [sum(p.numel() for p in one.parameters()) for one in seen] == [row["params"] for row in rows]
