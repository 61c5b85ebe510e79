"""What happens when a process of Ray's own ends, by a stand-in of the same name; and when a cluster's head ends."""

import shutil
import subprocess
import sys

import pytest
from ray_clusters import open_cluster

SCRIPT = """
import subprocess, sys, time
from evoprune.common.processes import descendants
from evoprune.workers import ray_head
ray_head._LOOK_EVERY_S = 0.2
child = subprocess.Popen([sys.argv[1], "600"])
while not descendants():
    time.sleep(0.01)
with ray_head.watched(descendants()):
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


@pytest.mark.parametrize(("name", "inside"), [("raylet", "time.sleep(1)"), ("other", "child.kill(); time.sleep(1)")])
def test_who_lives_and_who_is_not_needed_ends_nothing(tmp_path, name, inside):
    ended = started(tmp_path, name, inside)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "gone on\n", "")


ON_A_CLUSTER = """
import sys, time
from evoprune.config import WorkersConfig
from evoprune.workers import ray_head
from evoprune.workers.ray_cluster import open_ray
ray_head._SILENCE_S = 3.0
with open_ray(WorkersConfig(address=sys.argv[1], num_workers=1)):
    time.sleep(float(sys.argv[2]))
    print("gone on", flush=True)
    time.sleep(30)
"""


def test_the_end_of_a_clusters_head_ends_the_run_to_be_run_again():
    with open_cluster(num_cpus=1) as cluster:
        address = cluster.address
        command = [sys.executable, "-c", ON_A_CLUSTER, address, "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "gone on\n"
            cluster.head_node.kill_gcs_server(check_alive=False)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"nobody has answered at {address} for 3 s" in said and "the same command goes on" in said
    assert "Traceback" not in said
