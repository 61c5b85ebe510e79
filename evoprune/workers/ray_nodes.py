"""The nodes of a Ray cluster, which join and leave while a run goes on, and how many workers they have room for."""

import time
from typing import Any

from evoprune.config import WorkersConfig
from evoprune.workers.ray_cluster import living_nodes
from evoprune.workers.resources import Shape, room

LOOK_EVERY_S = 5.0


class Nodes:
    """Looks at the cluster now and then; a cluster of this machine alone does not change.

    Attributes:
        room: how many workers there is room for, those that are there included.
        look_every_s: how long nobody looks; None where nobody needs to.
    """

    def __init__(self, ray: Any, config: WorkersConfig, shape: Shape):
        self._ray, self._config, self._shape = ray, config, shape
        self.look_every_s = None if config.address is None else LOOK_EVERY_S
        self.room = shape.num_workers
        self._known: set[str] = set()
        self._look_at = 0.0
        self.have_joined()

    def have_joined(self) -> bool:
        """Whether nodes have joined since the last look; `room` is as it is now."""
        if self.look_every_s is None or time.monotonic() < self._look_at:
            return False
        nodes = living_nodes(self._ray)
        joined = nodes.keys() - self._known
        self._known, self._look_at = set(nodes), time.monotonic() + self.look_every_s
        self.room = room(self._config, self._shape, list(nodes.values()))
        return bool(joined)

    def look_soon(self) -> None:
        """Have the next call look: a worker has died, and its node may be gone."""
        self._look_at = 0.0
