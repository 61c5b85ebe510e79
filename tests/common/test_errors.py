"""Errors say what was meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune.common.errors import IncompleteError, TrainingError, UserError, printable, reason_of, suggest

NAMES = ["accuracy", "bandwidth", "flops", "latency", "params"]


def test_a_near_miss_is_told_what_was_meant_and_all_is_listed_in_order():
    assert suggest("flop", ["params", "flops"]) == "did you mean 'flops'? allowed: flops, params"
    assert suggest("zzz", iter(["params", "flops"])) == "allowed: flops, params"
    many = [f"net{number}" for number in range(1000)]
    assert len(told := suggest("net12", many)) < 150 and told.startswith("did you mean 'net12'? allowed: 1,000 names, ")
    assert suggest("zzz", many) == "allowed: 1,000 names"


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


def test_control_characters_do_not_reach_a_terminal():
    assert printable("a\x1b[31m\x07\n\tb\u202e\ud800ä") == "a\\x1b[31m\\x07\n\tb\\u202e\\ud800ä"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("first\nsecond"), "first"), (KeyError(), "KeyError"), (OSError("x" * 500), "x" * 200)],
)
def test_a_reason_is_one_short_line(error, reason):
    assert reason_of(error) == reason
