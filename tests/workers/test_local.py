"""The worker that is this process does without Ray; what it has in common with the others is in the contract."""

import subprocess
import sys

LOCAL_WITHOUT_RAY = """
import sys
import evoprune.cli, evoprune.stages.search, evoprune.stages.retrain
from evoprune.config import WorkersConfig
from evoprune.workers.dispatch import dispatch
from evoprune.workers.pool import open_workers
with open_workers(WorkersConfig(backend="local"), lambda: lambda item: iter([item + 1])) as workers:
    assert [event.value for event in dispatch(workers, [1, 2])] == [2, 3]
print([name for name in sys.modules if name.split(".")[0] == "ray"])
"""


def test_local_workers_never_import_ray():
    done = subprocess.run([sys.executable, "-c", LOCAL_WITHOUT_RAY], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
