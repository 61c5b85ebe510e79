"""Several runs in one picture."""

from pathlib import Path

import pytest
from report_rows import rows

from evoprune import UserError
from evoprune.report.compared import compared_run, dataset_of, network_of, with_short_names
from evoprune.runs.folder import RunFolder
from evoprune.runs.table import write_table
from evoprune.space.costs import code_costs

NAMES = ["accuracy", "flops"]


def test_a_run_is_its_front_with_what_output_knows_of_it(tiny, small_space, tmp_path):
    table = rows(small_space, 6)
    folder = RunFolder(tmp_path)
    tested = {"key": f"k{1:011x}", "test_accuracy": 88.5}
    for row in table:
        row["key"] = f"k{row['id']:011x}"
    write_table(folder.output, [tested], ["key", "test_accuracy"])
    run = compared_run(folder, table, tiny(), small_space, NAMES)
    assert [row["id"] for row in run.front] == [5, 4, 3, 1, 0]
    assert [row["test_accuracy"] for row in run.front] == [None, None, None, 88.5, None]
    write_table(folder.output, [tested], ["test_accuracy"])
    assert compared_run(folder, table, tiny(), small_space, NAMES).front[3]["test_accuracy"] is None
    assert run.base["accuracy"] == 90.0 and (run.network, run.dataset) == ("resnet20", "digits")


def test_a_run_without_its_base_network_has_its_costs(tiny, small_space, tmp_path):
    run = compared_run(RunFolder(tmp_path), rows(small_space, 6)[1:], tiny(), small_space, NAMES)
    assert run.base == code_costs(small_space, small_space.full_code())


def test_what_one_run_has_not_measured_cannot_be_compared(tiny, small_space, tmp_path):
    with pytest.raises(UserError, match=r"has not measured latency.*leave it out"):
        compared_run(RunFolder(tmp_path), rows(small_space, 2), tiny(), small_space, ["accuracy", "latency"])


@pytest.mark.parametrize(
    ("paths", "names"),
    [(["a/x", "b/y/"], ["x", "y"]), (["a/x", "b/x"], ["a/x", "b/x"]), (["a/x", "b/y", "c/y"], ["a/x", "b/y", "c/y"])],
)
def test_labels_are_short_where_they_differ(tiny, small_space, paths, names):
    runs = [compared_run(RunFolder(path), [], tiny(), small_space, NAMES) for path in map(Path, paths)]
    assert [run.name for run in with_short_names(runs)] == names


def test_no_run_is_drawn_twice(tiny, small_space):
    runs = [compared_run(RunFolder(Path(path)), [], tiny(), small_space, NAMES) for path in ("a/x", "b", "a/y/../x/")]
    with pytest.raises(UserError, match=r"--compare: .*a/x would be drawn twice; leave one of them out"):
        with_short_names(runs)


def test_networks_and_images_are_named_without_their_place(tiny):
    assert network_of(tiny()) == "resnet20" and dataset_of(tiny()) == "digits"
    source = {"network": {"source": "torchvision:resnet50"}, "search_space": None}
    assert network_of(tiny(**source)) == "resnet50"
    assert dataset_of(tiny(data={"dataset": "image_folder", "root": "photos/cats_and_dogs"})) == "cats_and_dogs"
    assert dataset_of(tiny(data={"dataset": "npz", "root": "data/cifar10.npz"})) == "cifar10"
    assert dataset_of(tiny(data={"dataset": "image_folder", "root": "data/cifar10.half"})) == "cifar10.half"
