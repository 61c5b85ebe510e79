"""What happens when a process of Ray's own ends: a stand-in of the same name, started by a process of its own."""

import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import subprocess, sys, time
from evoprune.common.processes import descendants
from evoprune.workers.ray_head import watched
child = subprocess.Popen([sys.argv[1], "600"])
while not descendants():
    time.sleep(0.01)
with watched(descendants()):
    {inside}
child.kill()
child.wait()
print("gone on")
"""


def started(tmp_path, name: str, inside: str) -> subprocess.CompletedProcess:
    stand_in = tmp_path / name
    shutil.copy(shutil.which("sleep"), stand_in)
    script = SCRIPT.format(inside=inside)
    return subprocess.run([sys.executable, "-c", script, str(stand_in)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_the_end_of_a_process_of_ray_ends_the_run_to_be_run_again(tmp_path, name):
    ended = started(tmp_path, name, "child.kill(); time.sleep(30)")
    assert (ended.returncode, ended.stdout) == (75, "")
    message = (
        f"evoprune: Ray's process {name} has ended, as where memory is short; the same command goes on from here\n"
    )
    assert ended.stderr == message


@pytest.mark.parametrize(("name", "inside"), [("raylet", "time.sleep(4)"), ("other", "child.kill(); time.sleep(4)")])
def test_who_lives_and_who_is_not_needed_ends_nothing(tmp_path, name, inside):
    ended = started(tmp_path, name, inside)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "gone on\n", "")
