"""Published results: where they are shown, and that the table is sound."""

import pytest

from evoprune import load_search_space
from evoprune.report.published import published_for

CIFAR = {"dataset": "cifar10"}


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet56"])
def test_networks_of_the_same_name_size_and_images_have_published_rows(make_experiment, name):
    rows = published_for(make_experiment(data=CIFAR, search_space={"name": name, "width": 16}), load_search_space(name))
    assert rows and [row["flops"] for row in rows] == sorted(row["flops"] for row in rows)
    for row in rows:
        assert 0 < row["flops"] < row["base_flops"] and 80 < row["accuracy"] < 97 and row["source"]
        assert row["base_accuracy"] is None or 0 <= abs(row["base_accuracy"] - row["accuracy"]) < 5


def test_an_archive_is_known_by_its_name(make_experiment):
    archive = make_experiment(data={"dataset": "npz", "root": "somewhere/cifar10.npz"})
    methods = [row["method"] for row in published_for(archive, load_search_space("resnet20"))]
    assert "Vega prune_ea, IND3" in methods


@pytest.mark.parametrize(
    ("changes", "width"),
    [
        ({"data": {"dataset": "digits"}}, None),
        ({"data": CIFAR}, 8),
        ({"data": CIFAR, "search_space": {"name": "resnet32"}}, None),
    ],
    ids=["images", "width", "network"],
)
def test_nothing_is_shown_beside_another_network_or_other_images(make_experiment, changes, width):
    assert published_for(make_experiment(**changes), load_search_space("resnet20", width)) == []
