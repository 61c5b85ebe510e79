"""Errors say what was meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune.common.errors import IncompleteError, TrainingError, UserError, suggest

NAMES = ["accuracy", "bandwidth", "flops", "latency", "params"]


def test_a_near_miss_is_told_what_was_meant_and_all_is_listed_in_order():
    assert suggest("flop", ["params", "flops"]) == "did you mean 'flops'? allowed: flops, params"
    assert suggest("zzz", iter(["params", "flops"])) == "allowed: flops, params"


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_a_letter_too_few_or_two_swapped_are_still_understood(name, data):
    place = data.draw(st.integers(0, len(name) - 2))
    for typo in (name[:place] + name[place + 1 :], name[:place] + name[place + 1] + name[place] + name[place + 2 :]):
        assert suggest(typo, NAMES).startswith(f"did you mean {name!r}? ")


def test_only_what_the_user_can_put_right_is_a_wrong_value():
    assert issubclass(UserError, ValueError)
    for error in (IncompleteError, TrainingError):
        assert issubclass(error, RuntimeError) and not issubclass(error, ValueError)
        with pytest.raises(error, match="why"):
            raise error("why")
