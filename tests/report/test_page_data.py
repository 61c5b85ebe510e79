"""What `report.html` draws."""

import json

import numpy as np
import pytest
from report_rows import rows

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report import page_data as module
from evoprune.report.compared import ComparedRun
from evoprune.report.page_data import compared_data, page_data, sensitivity_data
from evoprune.search.front import front_rows, fronts_by_generation


def test_points_fronts_and_kept_channels_belong_together(tiny, small_space):
    table = rows(small_space, 12)
    table[5]["status"] = "failed"
    front = front_rows(table, ["accuracy", "flops"])
    front[0]["test_accuracy"] = 91.0
    data = page_data(table, front, tiny(), small_space)
    keys = [point[data["columns"].index("key")] for point in data["points"]]
    assert keys == [f"k{i}" for i in range(12) if i != 5]
    assert [keys[one["at"]] for one in data["front"]] == [row["key"] for row in front]
    assert {keys[at] for at in data["fronts"][-1]} == {row["key"] for row in front}
    assert {keys[at] for at in data["fronts"][0]} == {"k0", "k1", "k3"}
    assert data["front"][0]["test"] == 91.0 and data["front"][0]["kept"] == [1] * len(small_space.segments)
    assert data["status"] == {"ok": 11, "failed": 1} and data["total"] == 12 == len(data["hypervolume"])
    assert data["base"]["flops"] == 10000 and data["base"]["accuracy"] == 90.0
    assert data["knee"] in keys


def test_who_breaks_a_limit_is_a_point_and_who_failed_is_a_reason(tiny, small_space):
    table = rows(small_space, 6)
    for row in table:
        row["status"] = "infeasible"
    table[2] |= {"status": "failed", "error": "x" * 1000}
    table[4] |= {"status": "lost", "error": "its worker died"}
    data = page_data(table, [], tiny(), small_space)
    status = data["columns"].index("status")
    assert [point[status] for point in data["points"]] == ["infeasible"] * 4
    assert data["failures"] == [[2, "k2", "failed", "x" * 300], [4, "k4", "lost", "its worker died"]]
    assert data["front"] == [] and data["knee"] is None


def test_of_too_many_candidates_all_fronts_and_a_sample_are_drawn(tiny, small_space, monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 20)
    table = [{**row, "accuracy": row["accuracy"] if row["id"] % 4 == 0 else 1.0} for row in rows(small_space, 40)]
    names = ["accuracy", "flops"]
    front, fronts = front_rows(table, names), fronts_by_generation(table, names)
    data = page_data(table, front, tiny(), small_space)
    drawn = [point[data["columns"].index("id")] for point in data["points"]]
    assert [[drawn[at] for at in one] for one in data["fronts"]] == [[row["id"] for row in one] for one in fronts]
    assert len(data["points"]) == 20 and data["total"] == 40
    keys = {point[data["columns"].index("key")] for point in data["points"]}
    assert {row["key"] for row in front} <= keys


@pytest.mark.parametrize(
    ("tests", "correlation"),
    [
        ([70.0, 80.0, 90.0], 1.0),
        ([90.0, 80.0, 70.0], -1.0),
        ([70.0, 80.0, 80.0], 0.866),  # ranks 1, 2.5 and 2.5 against 1, 2 and 3
        ([70.0, None, 90.0], None),
        ([70.0, 70.0, 70.0], None),
    ],
)
def test_rank_correlation_by_hand(tiny, small_space, tests, correlation):
    front = [{**row, "test_accuracy": test} for row, test in zip(rows(small_space, 3), tests, strict=True)]
    for row, accuracy in zip(front, (50.0, 60.0, 61.0), strict=True):
        row["accuracy"] = accuracy
    assert page_data(rows(small_space, 3), front, tiny(), small_space)["rank_correlation"] == correlation


def test_of_another_run_only_the_measures_of_the_page_go_in():
    row = {"key": "k1", "test_accuracy": None, "accuracy": 80.0, "flops": 5, "code": "hff"}
    (data,) = compared_data(
        [ComparedRun("b", "net", "images", [row], {"flops": 9, "params": 3})], ["accuracy", "flops"]
    )
    assert data["front"] == [{"key": "k1", "test": None, "accuracy": 80.0, "flops": 5}]
    assert data["base"] == {"accuracy": None, "flops": 9} and (data["name"], data["dataset"]) == ("b", "images")


def test_curves_are_numbers_that_json_can_hold(small_space):
    groups = small_space.groups
    losses = [np.array([0.0, 2.0, 4.0]) for _ in groups]
    losses[1] = np.array([0.0, np.inf, 4.0])
    data = sensitivity_data("prior", Curves(small_space, (np.array([0.0, 0.1, 0.75]),) * len(groups), tuple(losses)))
    assert json.loads(json.dumps(data, allow_nan=False)) == data and data["name"] == "prior"
    first, second, *_ = data["curves"]
    assert first == {"segment": groups[0].name, "width": groups[0].width, "fragile": True,
                     "points": [[0.0, 0.0], [0.1, 2.0], [0.75, 4.0]]}  # fmt: skip
    assert second["points"] == [[0.0, 0.0], [0.75, 4.0]] and second["fragile"] is False


def test_spreads_of_latencies_are_told_where_there_are_any(tiny, small_space):
    table = [{**row, "latency": 2.0, "latency_spread": None} for row in rows(small_space, 6)]
    front = front_rows(table, ["accuracy", "flops"])
    assert "latency_spread" not in page_data(table, front, tiny(), small_space)["columns"]
    table[3]["latency_spread"] = 27.0
    data = page_data(table, front, tiny(), small_space)
    assert [point[data["columns"].index("latency_spread")] for point in data["points"]][3] == 27.0


@pytest.mark.parametrize(
    ("source", "told"), [("my nets/n.py:make", "my nets/n.py:make"), ("torchvision:resnet18", None)]
)
def test_code_of_ones_own_is_named_as_it_has_to_be_for_an_export(tiny, small_space, source, told):
    experiment, table = tiny(network={"source": source}, search_space=None), rows(small_space, 4)
    assert page_data(table, table[:1], experiment, small_space)["source"] == told
