"""The arithmetic of the prediction by hand; what is measured is replaced by round numbers, or only has to be there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import prepared

from evoprune.config import Experiment
from evoprune.runs.folder import RunFolder
from evoprune.runs.ownership import open_run_folder
from evoprune.stages import probe as probe_module
from evoprune.stages.context import Context
from evoprune.stages.estimate import Estimate, estimate
from evoprune.stages.probe import Probe
from evoprune.training.loop import TrainingOptions

FIXED_S, EPOCH_S = 2.0, 100.0
ONE_AT_ONCE = {"candidates_per_batch": 1}


@pytest.fixture
def round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate takes 2 s without training, and 100 s an epoch; so does any other training."""

    def second_time(work: Callable[[], object]) -> float:
        assert isinstance(work, partial)
        fidelity, *_ = work.args
        return FIXED_S + EPOCH_S * fidelity.epochs

    monkeypatch.setattr("evoprune.stages.search_time.second_time", second_time)
    monkeypatch.setattr(Probe, "epoch_s", lambda *_: EPOCH_S)


def predict(experiment: Experiment) -> Estimate:
    return estimate(Context(experiment, RunFolder(Path("unused"))))


def test_every_candidate_trained(make_experiment: Any, round_numbers: None) -> None:
    found = predict(
        make_experiment(
            evaluation={"epochs": 0.1},
            search={"random_samples": 10, "num_individual": 5, "generations": 4},
            retrain={"select": {"count": 3}, "epochs": 2, "seeds": 2},
            workers={"backend": "ray", "num_workers": 4, **ONE_AT_ONCE},
        )
    )
    assert found.candidate == pytest.approx(2 + 0.1 * 100) and found.num_workers == 4
    assert found.stages == {
        "base network": pytest.approx(3 * 100),
        "scores": 0,
        "search": pytest.approx((10 + 4 * 5) * 12 / 4),
        "full training": pytest.approx(2 * 2 * 100),  # 6 trainings on 4 workers: two after one another
    }
    assert 0 < found.flops_share < 1


def test_full_training_is_measured_with_its_teacher_and_its_average(make_experiment: Any, monkeypatch: Any) -> None:
    """Together they took 1.9 times as long as without, on digits."""
    used: list[TrainingOptions] = []
    real = probe_module.train
    monkeypatch.setattr(probe_module, "train", lambda *given: used.append(given[-1]) or real(*given))
    predict(make_experiment(retrain={"distillation": {"weight": 0.5}, "averaging": 0.9}))
    base, full = used[0], used[-1]
    assert (base.teacher, base.averaging) == (None, None)
    assert full.teacher is not None and full.averaging == 0.9


def test_a_base_network_that_is_there_costs_nothing(make_experiment: Any, tmp_path: Path) -> None:
    experiment = make_experiment(base={"epochs": 0.1}, evaluation={"epochs": 0.1})
    assert predict(experiment).stages["base network"] > 0
    with open_run_folder(tmp_path / "run", experiment) as folder:
        prepared(experiment, folder)
    found = predict(experiment)
    assert found.stages["base network"] == 0
    assert found.candidate > 0 and found.stages["search"] > 0 and found.stages["full training"] > 0


def test_given_weights_cost_nothing(make_experiment: Any, round_numbers: None) -> None:
    assert predict(make_experiment(base={"weights": "mine.pt"})).stages["base network"] == 0


def test_scop_is_trained_before_the_search(make_experiment: Any) -> None:
    scop = {"epochs": 0.5, "batch_size": 64, "lr": 0.05}
    assert predict(make_experiment(importance={"scop": scop})).stages["scores"] == 0
    found = predict(make_experiment(search={"prior": "scop"}, importance={"scop": scop}))
    longer = predict(make_experiment(search={"prior": "scop"}, importance={"scop": {**scop, "epochs": 50}}))
    # a hundred times as many steps, of which a few are measured
    assert longer.stages["scores"] > 10 * found.stages["scores"] > 0


@pytest.mark.parametrize(
    ("select", "networks"), [("knees", 3), ("all", 3), (["k0", "k1"], 2), ({"count": 7}, 7)], ids=str
)
def test_how_many_networks_are_trained(make_experiment: Any, round_numbers: None, select: Any, networks: int) -> None:
    found = predict(make_experiment(retrain={"select": select, "epochs": 1}, workers={"num_workers": 1}))
    assert found.num_networks == networks and found.stages["full training"] == pytest.approx(networks * 100)
