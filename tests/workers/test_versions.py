"""A worker has the versions of the process that starts it, or says why it is none."""

import platform

from evoprune import __version__
from evoprune.workers.versions import own_versions, version_fault


def test_a_process_is_a_worker_of_its_like():
    assert own_versions() == {"Python": platform.python_version(), "evoprune": __version__}
    assert version_fault(own_versions()) is None


def test_each_version_that_differs_is_named_with_both():
    for name in ("Python", "evoprune"):
        fault = version_fault({**own_versions(), name: "0.0.1"})
        assert f"{name} {own_versions()[name]}" in fault and f"{name} 0.0.1" in fault
