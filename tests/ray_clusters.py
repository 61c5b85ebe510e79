"""Ray clusters of several nodes on this machine."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def open_cluster(num_cpus: int = 0) -> Iterator[Any]:
    """A head of so many cores, to which nodes are added; nothing of it is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="e-", dir="/tmp"))  # Ray needs a short path
    (folder / "ray").mkdir()  # where Ray writes the cluster's address
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # as evoprune asks of a cluster that it starts
        patch.setenv("RAY_TMPDIR", str(folder))
        from ray.cluster_utils import Cluster

        soon = {"health_check_period_ms": 500}  # a dead node is noticed within seconds
        arguments = {"num_cpus": num_cpus, "temp_dir": str(folder), "include_dashboard": False, "_system_config": soon}
        cluster = Cluster(initialize_head=True, head_node_args=arguments)
        try:
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def set_nodes(cluster: Any, number: int) -> None:
    """Have nodes of one core join or leave until the cluster has that many, and knows it."""
    while len(cluster.worker_nodes) > number:
        kill_node(cluster, next(iter(cluster.worker_nodes)).node_id)
    while len(cluster.worker_nodes) < number:
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()


def kill_node(cluster: Any, node_id: str) -> None:
    """Kill a node with all its workers, as if its machine had lost its power."""
    (node,) = (node for node in cluster.worker_nodes if node.node_id == node_id)
    cluster.remove_node(node, allow_graceful=False)
