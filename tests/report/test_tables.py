"""Tables that people read: numbers by hand."""

import numpy as np
import pytest

from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.tables import (
    markdown,
    result_table,
    share_text,
    steps_table,
    summary_table,
    sweep_table,
    threshold_table,
    trade_offs,
)
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_uniform
from evoprune.space.space import SearchSpace

BASE = {"validation_accuracy": 91.236, "test_accuracy": 90.0}


def cells(table: str) -> list[list[str]]:
    """The texts of a Markdown table, without the line below its head."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len({len(line) for line in found}) == 1 and set(found[1]) == {"---"}
    return [found[0], *found[2:]]


def front_row(space: SearchSpace, rate: float, **changes: object) -> dict[str, object]:
    code = prune_uniform(space, np.zeros(space.length), rate)
    row = {"id": 1, "rung": 0, "status": "ok", "proposal": "evolution", "key": space.key(code), "accuracy": 80.0}
    return {**row, **code_costs(space, code), **changes}


def test_markdown_is_a_line_for_each_row():
    assert markdown(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"


def test_a_threshold_table_says_what_each_loss_would_keep(small_space):
    """Every group loses 1 point by its half and 4 points by three quarters; between them 3 points a quarter."""
    rates = tuple(np.array([0.0, 0.5, 0.75]) for _ in small_space.groups)
    losses = tuple(np.array([0.0, 1.0, 4.0]) for _ in small_space.groups)
    head, *lines, flops = cells(threshold_table(Curves(small_space, rates, losses)))
    assert head == ["segment", "channels", *(f"kept at {loss} points" for loss in ("0.5", "1", "2", "5"))]
    assert [line[0] for line in lines] == [group.name for group in small_space.groups]
    wanted = {"4": ["3", "2", "2", "1"], "8": ["6", "4", "4", "2"], "16": ["12", "8", "7", "4"]}
    assert all(line[2:] == wanted[line[1]] for line in lines)
    assert flops[:2] == ["multiply-adds", "100.0 %"]
    half = code_costs(small_space, prune_uniform(small_space, np.zeros(small_space.length), 0.5))["flops"]
    full = code_costs(small_space, small_space.full_code())["flops"]
    assert flops[3] == f"{100 * half / full:.1f} %"


def test_a_result_table_is_the_front_beside_the_base_network(tiny, small_space):
    full = code_costs(small_space, small_space.full_code())
    front = [
        front_row(small_space, 0.75),
        front_row(small_space, 0.5, test_accuracy=85.0, test_accuracy_std=0.257),
        front_row(small_space, 0.25, test_accuracy=88.888, test_accuracy_std=None),
    ]
    for select, shown in (("all", [2, 1, 0]), ({"count": 2}, [2, 1])):
        head, base, *lines = cells(result_table(front, tiny(retrain={"select": select}), small_space, BASE))
        assert len(head) == 6
        assert base == ["base network", f"{full['flops']:,}", "100.0 %", f"{full['params']:,}", "91.24 %", "90.00 %"]
        assert [line[0] for line in lines] == [f"`{front[index]['key']}`" for index in shown], "largest first"
        share = f"{100 * front[1]['flops'] / full['flops']:.1f} %"
        assert lines[1][1:5] == [f"{front[1]['flops']:,}", share, f"{front[1]['params']:,}", "80.00 %"]
        assert [line[5] for line in lines] == ["88.89 %", "85.00 % ± 0.26", "not trained"][: len(shown)]


def test_a_front_of_which_nothing_is_trained_yet_is_shown_by_a_few_networks(tiny, small_space):
    front = [front_row(small_space, keep) for keep in np.linspace(0.1, 0.9, 30)]
    _, _, *lines = cells(result_table(front, tiny(retrain={"select": {"count": 2}}), small_space, BASE))
    ends = [f"{front[index]['flops']:,}" for index in (-1, 0)]
    assert len(lines) == 12 and [lines[0][1], lines[-1][1]] == ends


def test_latency_stands_in_a_result_table_where_it_was_measured(tiny, small_space):
    experiment = tiny(search={"limits": {"latency": {"max": 3}}}, retrain={"select": "all"})
    front = [front_row(small_space, 0.5, latency=1.25, latency_spread=7.0)]
    head, base, line = cells(result_table(front, experiment, small_space, {**BASE, "latency": 2.5}))
    assert (head[4], base[4], line[4]) == ("latency", "2.5 ms", "1.25 ms ±7 %") and len(line) == len(head) == 7


def test_a_summary_table_leaves_out_what_was_not_measured():
    rows = [
        {
            **{"step": 0, "rate": 0.0, "accuracy_before": None, "accuracy_cut": None, "accuracy_recalibrated": None},
            **{"accuracy": 91.0, "test_accuracy": 90.0, "flops": 2000, "params": 1000, "file_bytes": 12345},
        },
        {
            **{"step": 1, "rate": 0.25, "accuracy_before": 91.0, "accuracy_cut": 20.0, "accuracy_recalibrated": 50.0},
            **{"accuracy": 88.0, "test_accuracy": None, "flops": 1500, "params": 600, "file_bytes": 6789},
        },
    ]
    head, base, step = cells(summary_table(rows))
    assert head[:2] == ["step", "channels pruned"] and len(head) == len(base) == 11
    assert base == ["base", "0.0 %", "", "", "", "91.00 %", "90.00 %", "2,000", "100.0 %", "1,000", "12,345"]
    assert step == ["1", "25.0 %", "91.00 %", "20.00 %", "50.00 %", "88.00 %", "", "1,500", "75.0 %", "600", "6,789"]


@pytest.mark.parametrize(("cost", "text"), [(1000, "100 %"), (455, "46 %"), (10, "1 %"), (4.5, "0.45 %")])
def test_a_share_below_one_per_cent_is_not_nothing(cost, text):
    assert share_text(cost, 1000) == text


@pytest.mark.parametrize("with_base", [True, False])
def test_trade_offs_are_the_ends_of_the_front_in_a_few_words(tiny, small_space, with_base):
    full = front_row(small_space, 0.0, id=0, proposal="full", accuracy=90.0)
    half = front_row(small_space, 0.5, accuracy=80.0)
    worse = front_row(small_space, 0.25, id=2, accuracy=70.0)
    text = trade_offs([*([full] if with_base else []), half, worse], tiny())
    share = round(100 * half["flops"] / full["flops"])
    if with_base:
        assert text == f"best accuracy, flops: 80.00 %, {share} % | 90.00 %, 100 %"
    else:
        assert text == f"best accuracy, flops: 80.00 %, {half['flops']:,} multiply-adds"


def test_where_nothing_is_good_there_is_no_trade_off(tiny, small_space):
    assert trade_offs([front_row(small_space, 0.5, status="failed", accuracy=None)], tiny()) == "best: none yet"


def test_a_sweep_table_marks_the_knee():
    rows = [
        {"sparsity": x, "accuracy": y, "accuracy_finetuned": z, "nonzero_params": 1000, "zipped_bytes": 2000}
        for x, y, z in ((0.0, 90.0, None), (0.5, 89.0, 90.0), (0.9, 10.0, 10.0), (1.0, None, None))
    ]
    assert cells(sweep_table(rows))[1:] == [
        ["0 %", "90.00 %", "", "1,000", "2,000"],
        ["50 % (knee)", "89.00 %", "90.00 %", "1,000", "2,000"],
        ["90 %", "10.00 %", "10.00 %", "1,000", "2,000"],
        ["100 %", "", "", "1,000", "2,000"],
    ]


def test_a_table_of_steps_has_costs_as_they_are_and_without_zeros():
    counts = {"params": 1000, "nonzero_params": 1000, "flops": 2000, "nonzero_flops": 2000}
    sizes = {"file_bytes": 4000, "zipped_bytes": 3000}
    base = {"round": 0, "state": "base", "accuracy": 91.0, "test_accuracy": 90.0, **counts, **sizes}
    pruned = base | {"round": 1, "state": "pruned", "test_accuracy": None, "nonzero_params": 500, "nonzero_flops": 1400}
    _, *lines = cells(steps_table([base, pruned]))
    assert lines == [
        ["", "base network", "91.00 %", "90.00 %", "1,000", "1,000", "2,000", "2,000 (100.0 %)", "4,000", "3,000"],
        ["1", "pruned", "91.00 %", "", "1,000", "500", "2,000", "1,400 (70.0 %)", "4,000", "3,000"],
    ]
