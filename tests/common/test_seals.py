"""Checksums of facts that are stored as JSON."""

import json

import pytest

from evoprune.common.seals import holds, sealed, unsealed

FACTS = {"accuracy": 91.25, "seeds": [0, 1], "base": {"mean": (0.5, 0.25), 3: None}, "name": "\u2028 x"}


def test_what_is_sealed_holds_after_it_was_stored():
    stored = json.loads(json.dumps(sealed(FACTS)))
    assert holds(stored) and list(stored)[-1] == "check"
    assert unsealed(stored) == json.loads(json.dumps(FACTS))
    assert sealed(sealed(FACTS)) == sealed(FACTS)


@pytest.mark.parametrize("change", [{"accuracy": 91.26}, {"seeds": [0]}, {"more": 1}, {"check": "0" * 16}])
def test_what_has_changed_does_not_hold(change):
    assert not holds({**sealed(FACTS), **change})


def test_facts_of_an_earlier_version_hold():
    assert holds(FACTS)
