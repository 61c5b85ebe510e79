"""Nodes that join and leave, as Ray lists them, and how many workers there is room for."""

from types import SimpleNamespace
from typing import Any

import pytest

from evoprune.config import WorkersConfig
from evoprune.workers.ray_nodes import Nodes
from evoprune.workers.resources import Shape


class Listed:
    """Ray's list of nodes: those that have left stay on it."""

    def __init__(self) -> None:
        self.alive: dict[str, int] = {}
        self.dead: dict[str, int] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": name, "Alive": alive, "Resources": {"CPU": float(cpus)}}
            for kept, alive in ((self.alive, True), (self.dead, False))
            for name, cpus in kept.items()
        ]


@pytest.fixture
def listed() -> Listed:
    cluster = Listed()
    cluster.alive = {"first": 2, "second": 1}
    return cluster


def watch(listed: Listed, **keys: Any) -> Nodes:
    return Nodes(listed, WorkersConfig(**{"address": "auto", **keys}), Shape(3, 1, 0.0))


def test_nodes_that_join_are_told_once_and_make_room(listed):
    nodes = watch(listed)
    nodes.look_soon()
    assert not nodes.have_joined() and nodes.room == 3
    listed.alive["third"] = 4
    assert not nodes.have_joined() and nodes.room == 3, "nobody looks all the time"
    nodes.look_soon()
    assert nodes.have_joined() and nodes.room == 7
    nodes.look_soon()
    assert not nodes.have_joined()


def test_a_node_that_leaves_takes_its_room_away_and_is_new_when_it_comes_back(listed):
    nodes = watch(listed)
    listed.dead["first"] = listed.alive.pop("first")
    nodes.look_soon()
    assert not nodes.have_joined() and nodes.room == 1
    listed.alive["first"] = listed.dead.pop("first")
    nodes.look_soon()
    assert nodes.have_joined() and nodes.room == 3


def test_a_given_number_is_the_most(listed):
    listed.alive["third"] = 9
    assert watch(listed, num_workers=5).room == 5


def test_nobody_looks_at_a_cluster_of_this_machine_alone():
    nodes = Nodes(SimpleNamespace(), WorkersConfig(), Shape(3, 1, 0.0))
    nodes.look_soon()
    assert not nodes.have_joined() and nodes.room == 3 and nodes.look_every_s is None
