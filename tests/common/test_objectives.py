"""Objectives: the one place where a sign turns."""

import numpy as np
import pytest

from evoprune.common.objectives import OBJECTIVES, to_losses
from evoprune.config import SearchConfig

ROW = {"accuracy": 90.0, "flops": 1000, "params": 10, "bandwidth": 400, "latency": 0.5}


def test_all_is_minimised_and_only_accuracy_turns_its_sign():
    assert to_losses([ROW], list(OBJECTIVES)).tolist() == [[-90.0, 1000.0, 10.0, 400.0, 0.5]]


def test_columns_follow_the_names_and_rows_the_rows():
    rows = [ROW, {**ROW, "accuracy": 80.0, "flops": 5}]
    assert to_losses(rows, ["flops", "accuracy"]).tolist() == [[1000.0, -90.0], [5.0, -80.0]]


def test_no_rows_are_an_empty_table():
    assert to_losses([], ["accuracy", "flops", "params"]).shape == (0, 3)


def test_a_failed_measurement_stays_nan():
    losses = to_losses([{**ROW, "accuracy": float("nan")}], ["accuracy", "flops"])
    assert np.isnan(losses[0, 0]) and losses[0, 1] == 1000


def test_macs_is_another_name_of_flops():
    assert SearchConfig(objectives=("accuracy", "macs")).objectives == ("accuracy", "flops")
    with pytest.raises(ValueError, match="each name once"):
        SearchConfig(objectives=("accuracy", "macs", "flops"))


def test_what_needs_a_built_network_is_not_closed_form():
    assert {name for name, objective in OBJECTIVES.items() if not objective.closed_form} == {"accuracy", "latency"}
    assert {name for name, objective in OBJECTIVES.items() if objective.maximise} == {"accuracy"}
