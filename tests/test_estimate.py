"""The arithmetic of the prediction by hand; what is measured is replaced by round numbers, or only has to be there."""

from typing import Any

import pytest

from evoprune import UserError
from evoprune import estimate as module
from evoprune.config import Experiment
from evoprune.stages.estimate import estimate
from evoprune.runs.folder import RunFolder, open_run_folder
from evoprune.stages.context import check_experiment, prepare

FIXED_S, EPOCH_S, CURVE_S = 2.0, 100.0, 0.5


@pytest.fixture
def round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate takes 2 s without training, 0.5 s for sensitivity, and 100 s an epoch; so does any other training."""
    monkeypatch.setattr(
        module, "_measure", lambda experiment, *_: ([FIXED_S] * len(experiment.evaluation.fidelities), EPOCH_S, CURVE_S)
    )
    monkeypatch.setattr(module, "_epoch_s", lambda *_: EPOCH_S)


def predict(experiment: Experiment) -> Any:
    return estimate(experiment, check_experiment(experiment))


def test_every_candidate_trained(make_experiment: Any, round_numbers: None) -> None:
    found = predict(
        make_experiment(
            evaluation={"epochs": 0.1},
            search={"random_samples": 10, "num_individual": 5, "generations": 4},
            retrain={"select": {"count": 3}, "epochs": 2, "seeds": 2},
            workers={"backend": "ray", "num_workers": 4},
        )
    )
    assert found.candidate == pytest.approx(2 + 0.1 * 100)
    assert found.search == pytest.approx((10 + 4 * 5) * 12 / 4)
    assert found.retrain == pytest.approx(2 * 2 * 100)  # 6 trainings on 4 workers: two after one another
    assert found.base == pytest.approx(3 * 100)
    assert 0 < found.flops_share < 1


def test_sensitivity_is_measured_before_the_search(make_experiment: Any, round_numbers: None) -> None:
    """12 groups at a half, three quarters and all but one of 4, 8 or 16 channels; of 4, the last two are the same."""
    without = predict(make_experiment())
    found = predict(make_experiment(search={"sensitivity": "measured"}))
    assert found.search - without.search == pytest.approx((1 + 4 * 2 + 8 * 3) * CURVE_S)


def test_the_ladder_measures_fewer_at_every_rung(make_experiment: Any, round_numbers: None) -> None:
    ladder = [{"epochs": 0, "promote": 0.5}, {"epochs": 0.1, "promote": 0.25}]
    found = predict(make_experiment(evaluation={"epochs": 1.0, "ladder": ladder}))
    by_hand = 2 + 0.5 * (2 + 10) + 0.5 * 0.25 * (2 + 100)
    assert found.candidate == pytest.approx(102)
    assert found.search == pytest.approx(by_hand * 8)


def test_a_candidate_that_fails_is_no_measure(make_experiment: Any) -> None:
    with pytest.raises(UserError, match="time limit"):
        predict(make_experiment(evaluation={"time_limit_s": 1e-9}))


def test_a_parent_that_is_there_costs_nothing(make_experiment: Any, tmp_path: Any) -> None:
    experiment = make_experiment(base={"epochs": 0.1}, evaluation={"epochs": 0.1})
    assert predict(experiment).base > 0
    with open_run_folder(tmp_path / "run", experiment) as folder:
        prepare(experiment, folder)
        assert isinstance(folder, RunFolder)
    found = predict(experiment)
    assert found.base == 0
    assert found.candidate > 0 and found.search > 0 and found.retrain > 0


def test_scop_is_trained_before_the_search(make_experiment: Any) -> None:
    scop = {"epochs": 0.5, "batch_size": 64, "lr": 0.05}
    assert predict(make_experiment(importance={"scop": scop})).scores == 0
    found = predict(make_experiment(search={"prior": "scop"}, importance={"scop": scop}))
    longer = predict(make_experiment(search={"prior": "scop"}, importance={"scop": {**scop, "epochs": 50}}))
    assert longer.scores > 10 * found.scores > 0  # a hundred times as many steps, of which a few are measured


@pytest.mark.parametrize(
    ("select", "networks"), [("knees", 3), ("all", 4), (["k0", "k1"], 2), ({"count": 7}, 7)], ids=str
)
def test_how_many_networks_are_trained(make_experiment: Any, round_numbers: None, select: Any, networks: int) -> None:
    found = predict(make_experiment(retrain={"select": select, "epochs": 1}, workers={"num_workers": 1}))
    assert found.retrain == pytest.approx(networks * 100)
