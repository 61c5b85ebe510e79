"""Processes that were started are found with their own, and ended."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from evoprune.common.processes import Process, descendants, end, is_alive, name_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not show processes")
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_children_and_theirs_are_found_and_killed():
    before = descendants()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        grandchild = int(parent.stdout.readline())
        found = descendants() - before
        assert {process.pid for process in found} == {parent.pid, grandchild}
        assert all(is_alive(process) for process in found)
        end(found)
        parent.wait()
        deadline = time.monotonic() + 10
        while any(is_alive(process) for process in found) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(is_alive(process) for process in found)
    assert not (descendants() - before)


def test_who_ends_by_itself_is_given_the_time():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"]) as child:
        (process,) = (process for process in descendants() if process.pid == child.pid)
        assert name_of(process).startswith("python")
        end([process], patience_s=30.0)
        assert child.wait() == 0
    assert name_of(process) is None


def test_another_process_with_the_same_id_is_not_taken_for_it():
    (own,) = (Process(1, started) for started in ["not when it was started"])
    assert not is_alive(own)
    end([own])
