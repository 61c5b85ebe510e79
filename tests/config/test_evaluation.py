"""Keys of measuring: the rungs of the ladder and the full fidelity above them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evoprune import UserError
from evoprune.config import EvaluationConfig, Fidelity, RungConfig, parse_experiment


def test_the_full_fidelity_is_the_last_rung():
    ladder = [RungConfig(epochs=0, promote=0.33, validation_images=1000), RungConfig(epochs=0.5, promote=0.5)]
    config = EvaluationConfig(epochs=2, ladder=ladder)
    assert config.fidelities == (Fidelity(0, 1000), Fidelity(0.5, None), Fidelity(2, None))
    assert EvaluationConfig().fidelities == (Fidelity(0.0),)


@given(st.lists(st.sampled_from([0, 0.25, 0.5, 1, 2, 3]), min_size=2, max_size=4))
def test_rungs_only_lead_upwards(epochs):
    *rungs, last = epochs
    ladder = [RungConfig(epochs=each, promote=0.5) for each in rungs]
    if epochs == sorted(set(epochs)):
        assert [fidelity.epochs for fidelity in EvaluationConfig(epochs=last, ladder=ladder).fidelities] == epochs
    else:
        with pytest.raises(ValidationError, match="grow from each to the next"):
            EvaluationConfig(epochs=last, ladder=ladder)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"epochs": 1, "ladder": [{"epochs": 1, "promote": 0.5}]}, "stay below evaluation.epochs"),
        ({"epochs": 1, "ladder": [{"epochs": 0.2, "promote": 0.5}] * 2}, "grow from each to the next"),
        ({"epochs": 1, "ladder": [{"epochs": 0, "promote": 1}]}, r"evaluation\.ladder\.0\.promote: got 1"),
        ({"epochs": 1, "ladder": [{"epochs": 0, "promote": 0}]}, r"evaluation\.ladder\.0\.promote: got 0"),
        (
            {"epochs": 1, "ladder": [{"epoch": 0, "promote": 0.5}]},
            r"unknown key evaluation\.ladder\.0\.epoch.*'epochs'",
        ),
        ({"ladder": [{"epochs": 0, "promote": 0.5}]}, r"evaluation\.ladder: got"),
    ],
)
def test_a_ladder_that_leads_nowhere_is_refused(evaluation, message):
    document = {"name": "x", "data": {"dataset": "digits"}, "search_space": {"name": "resnet20"}}
    with pytest.raises(UserError, match=message):
        parse_experiment({**document, "evaluation": evaluation}, "x")
