"""The worker that is this process does without Ray; what it has in common with the others is in the contract."""

import os
import signal
import subprocess
import sys

import pytest

from evoprune.common.signals import Stopped, stop_on_signals
from evoprune.workers.local import LocalWorkers

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


@pytest.mark.parametrize("hides", [True, False])
def test_a_signal_that_a_call_of_c_has_swallowed_costs_no_candidate(hides):
    """Once Python's SystemError of a compiled loop was taken for the candidate's own failure."""

    def job(item):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except Stopped as error:
            if not hides:
                raise SystemError("returned a result with an exception set") from error
        yield "failed"

    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals(), LocalWorkers(lambda: job) as workers:
        workers.begin("local", 0)
        workers.wait()
    with LocalWorkers(lambda: lambda item: iter([item])) as workers:  # what came once does not end what runs later
        workers.begin("local", 1)
        assert workers.wait().value == 1
