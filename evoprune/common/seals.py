"""Checksums of facts that are stored as JSON: a digit that has changed on the disk is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "check"
"""The key of the checksum. Facts without it are of an earlier version, or were written by hand."""


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` with their checksum as the last one."""
    return {**unsealed(facts), SEAL: _digest(facts)}


def unsealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` without their checksum."""
    return {name: value for name, value in facts.items() if name != SEAL}


def holds(facts: Mapping[str, Any]) -> bool:
    """Whether `facts` are as they were sealed; true of those that have no checksum."""
    return SEAL not in facts or facts[SEAL] == _digest(facts)


def _digest(facts: Mapping[str, Any]) -> str:
    """Of what comes back when the facts are read: names that are numbers have become texts then."""
    stored = json.loads(json.dumps(unsealed(facts)))
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode("ascii")).hexdigest()[:16]
