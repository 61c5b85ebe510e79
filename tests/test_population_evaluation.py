"""An evaluator that trains candidates together measures what it measures one by one."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from evoprune.networks.device import Compute
from evoprune.config import EvaluationConfig, Fidelity
from evoprune.evaluation.evaluator import Evaluator
from evoprune.training.stacked_training import Population
from evoprune.space.space import Code

CPU = Compute(torch.device("cpu"), bf16=False)
RECIPE = EvaluationConfig(epochs=1.5, batch_size=32, lr=0.05, recalibration_images=120)
SEED = 7

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def parent(small_parent: nn.Module) -> nn.Module:
    return small_parent.double()


def make_evaluator(space, parent, data, at_once: int, **changes: Any) -> Evaluator:
    return Evaluator(space, parent, data, RECIPE.model_copy(update=changes), CPU, SEED, candidates_at_once=at_once)


def timeless(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in measured]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("epochs", [0.0, 0.6])
@pytest.mark.parametrize("at_once", [3, 4, 64])
def test_how_many_train_at_once_changes_no_measurement(small_space, parent, exact_data, mixed_codes, epochs, at_once):
    alone = make_evaluator(small_space, parent, exact_data, 1).evaluate(mixed_codes, Fidelity(epochs))
    together = make_evaluator(small_space, parent, exact_data, at_once).evaluate(mixed_codes, Fidelity(epochs))
    assert timeless(together) == timeless(alone)
    assert len({row["accuracy"] for row in alone}) > 1 and all(row["seconds"] > 0 for row in together)


def test_together_too_a_candidate_that_fails_is_a_row_with_its_reason(small_space, parent, exact_data, mixed_codes):
    code = small_space.full_code()
    code[small_space.segments[0].start] = 0
    with torch.no_grad():
        parent.get_submodule("layer1.0.conv1").weight[0] = float("nan")
    evaluator = make_evaluator(small_space, parent, exact_data, 2)
    for epochs, reason in ((0.0, "output is not finite"), (0.4, "loss is not finite")):
        sound, broken = evaluator.evaluate([code, small_space.full_code()], Fidelity(epochs))
        assert (sound["status"], broken["status"]) == ("ok", "failed") and reason in broken["error"]
        assert timeless([sound]) == timeless(
            make_evaluator(small_space, parent, exact_data, 1).evaluate([code], Fidelity(epochs))
        )
        assert broken["flops"] > sound["flops"] and "accuracy" not in broken


def test_together_they_have_the_sum_of_their_time_limits(small_space, parent, exact_data, mixed_codes):
    rows = make_evaluator(small_space, parent, exact_data, 3, time_limit_s=1e-9).evaluate(
        mixed_codes[:3], Fidelity(0.2)
    )
    assert ["time limit" in row["error"] for row in rows] == [True] * 3
    evaluator = make_evaluator(small_space, parent, exact_data, 3, time_limit_s=2.0)
    assert evaluator._deadline(10.0, 3) == 16.0


def test_where_too_many_do_not_fit_half_as_many_are_tried(small_space, parent, exact_data, mixed_codes, monkeypatch):
    sizes = []

    def load(population: Population, batch: list[Code]) -> None:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        original(population, batch)

    original = Population.load
    monkeypatch.setattr(Population, "load", load)
    evaluator = make_evaluator(small_space, parent, exact_data, 6)
    with pytest.warns(UserWarning, match="[63] candidates at once failed, trying half as many: CUDA out of memory"):
        rows = evaluator.evaluate(mixed_codes, Fidelity(0.0))
    assert sizes == [6, 3] and timeless(rows) == timeless(
        make_evaluator(small_space, parent, exact_data, 1).evaluate(mixed_codes, Fidelity(0.0))
    )
    evaluator.evaluate(mixed_codes, Fidelity(0.0))
    assert sizes == [6, 3]  # the worker remembers


def test_latency_is_that_of_the_slim_network(small_space, parent, exact_data, mixed_codes):
    rows = replace(make_evaluator(small_space, parent, exact_data, 2), with_latency=True).evaluate(
        mixed_codes[:2], Fidelity(0.0)
    )
    assert all(0 < row["latency"] < 10_000 for row in rows)
