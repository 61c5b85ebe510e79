"""Keys of measuring: the rungs of the ladder and the full fidelity above them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evoprune.config import EvaluationConfig, Fidelity, RungConfig


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
