"""Every table that people read, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evoprune.common.objectives import OBJECTIVES, Row, to_losses
from evoprune.config import Experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.latencies import latency_cell
from evoprune.report.picks import knee_of, shown_rows
from evoprune.search.front import front_rows, full_row
from evoprune.search.pareto import spread
from evoprune.space.costs import COST_NAMES, code_costs
from evoprune.space.ranking import keep_best
from evoprune.space.space import SearchSpace

ACCURACIES = ("accuracy_before", "accuracy_cut", "accuracy_recalibrated", "accuracy", "test_accuracy")
"""Columns of `summary.csv`, in % on the validation split but for the last: the steps of a pruning."""
_THRESHOLDS = (0.5, 1, 2, 5)
_FEW = 4  # trade-offs that fit into a line


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def threshold_table(curves: Curves) -> str:
    """What `--max-loss` would keep: channels of every group, and multiply-adds of the whole network."""
    space = curves.space
    counts = [curves.counts_at(loss) for loss in _THRESHOLDS]
    full = code_costs(space, space.full_code())["flops"]
    codes = [keep_best(space, np.zeros(space.length), kept) for kept in counts]
    shares = [f"{100 * code_costs(space, code)['flops'] / full:.1f} %" for code in codes]
    rows = [[group.name, str(group.width), *(str(kept[place]) for kept in counts)]
            for place, group in enumerate(space.groups)]  # fmt: skip
    head = ["segment", "channels", *(f"kept at {loss:g} points" for loss in _THRESHOLDS)]
    return markdown(head, [*rows, ["multiply-adds", "100.0 %", *shares]])


def share_text(cost: float, whole: float) -> str:
    """A share of the base network's cost, in %."""
    percent = 100 * cost / whole if whole else 100.0  # of quantised ONNX files nothing is counted
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.2f} %"


def end_of(path: str, longest: int) -> str:
    """A path, or the end of one that is longer: that is where paths differ."""
    return path if len(path) <= longest else f"…{path[1 - longest :]}"


def trade_offs(rows: Sequence[Row], experiment: Experiment) -> str:
    """The best trade-offs among `rows`, spread over the front, in a few words."""
    names = experiment.search.objectives
    front = front_rows(rows, names)
    base = full_row(rows)
    picked = [front[index] for index in spread(to_losses(front, names), _FEW)]
    if not picked:
        return "best: none yet"
    values = (", ".join(_value(row, name, base) for name in names) for row in picked)
    return f"best {', '.join(names)}: {' | '.join(values)}"


def _value(row: Row, name: str, base: Row | None) -> str:
    if base is not None and name in COST_NAMES:
        return share_text(row[name], base[name])
    number = f"{row[name]:,}" if name in COST_NAMES else f"{row[name]:.2f}"
    return f"{number} {OBJECTIVES[name].unit}"


def result_table(front: Sequence[Row], experiment: Experiment, space: SearchSpace, base: Mapping[str, Any]) -> str:
    """The front beside the base network; costs as shares of the base network's.

    Args:
        front: rows of `output.csv`.
        experiment: says whether networks that are not trained fully belong to the table.
        space: the search space.
        base: what `run.json` knows of the base network, and its `latency` in ms where that was measured.
    """
    full = code_costs(space, space.full_code())
    timed = ["latency"] if experiment.measures_latency else []
    head = ["network", "multiply-adds", "of base network", "parameters", *timed, "validation accuracy in the search"]
    uncut = ["base network", f"{full['flops']:,}", "100.0 %", f"{full['params']:,}"]
    uncut += [latency_cell(base)] * len(timed)
    uncut += [f"{base['validation_accuracy']:.2f} %", f"{base['test_accuracy']:.2f} %"]
    rows = [_front_line(row, full, bool(timed)) for row in shown_rows(front, experiment)]
    return markdown([*head, "test accuracy, fully trained"], [uncut, *rows])


def _front_line(row: Row, full: Mapping[str, int], timed: bool) -> list[str]:
    deviation = f" ± {row['test_accuracy_std']:.2f}" if row.get("test_accuracy_std") is not None else ""
    tested = f"{row['test_accuracy']:.2f} %{deviation}" if row.get("test_accuracy") is not None else "not trained"
    share = f"{100 * row['flops'] / full['flops']:.1f} %"
    costs = [f"{row['flops']:,}", share, f"{row['params']:,}", *([latency_cell(row)] if timed else [])]
    return [f"`{row['key']}`", *costs, f"{row['accuracy']:.2f} %", tested]


def summary_table(rows: Sequence[Row]) -> str:
    """The steps of a pruning; accuracies on the validation split, but for the last column of them."""
    head = ["step", "channels pruned", "before", "pruned", "recalibrated", "fine-tuned", "test", "multiply-adds"]
    return markdown(
        [*head, "of base network", "parameters", "file, bytes"], [_summary_line(row, rows[0]) for row in rows]
    )


def _summary_line(row: Row, base: Row) -> list[str]:
    accuracies = ["" if row[name] is None else f"{row[name]:.2f} %" for name in ACCURACIES]
    costs = [f"{row['flops']:,}", f"{100 * row['flops'] / base['flops']:.1f} %", f"{row['params']:,}"]
    return [str(row["step"] or "base"), f"{100 * row['rate']:.1f} %", *accuracies, *costs, f"{row['file_bytes']:,}"]


_STATES = {"base": "base network", "pruned": "pruned", "finetuned": "fine-tuned", "transformed": "transformed"}


def steps_table(rows: Sequence[Row]) -> str:
    """The four steps; accuracies in %, costs as in `summary.csv` of `steps/`."""
    head = ["round", "network", "validation", "test", "parameters", "not zero", "multiply-adds", "by non-zero weights"]
    return markdown([*head, "file, bytes", "zipped"], [_steps_line(row, rows[0]) for row in rows])


def _steps_line(row: Row, base: Row) -> list[str]:
    accuracies = [f"{row[name]:.2f} %" if row[name] is not None else "" for name in ("accuracy", "test_accuracy")]
    share = f"{row['nonzero_flops']:,} ({100 * row['nonzero_flops'] / base['flops']:.1f} %)"
    counts = [f"{row['params']:,}", f"{row['nonzero_params']:,}", f"{row['flops']:,}", share]
    sizes = [f"{row[name]:,}" for name in ("file_bytes", "zipped_bytes")]
    return [str(row["round"] or ""), _STATES[row["state"]], *accuracies, *counts, *sizes]


def sparsity_table(front: Sequence[Row], baselines: Sequence[Row]) -> str:
    """What a search over sparsities found, with at most as many parameters that are not zero as the baselines have."""
    by_name = {name: [row for row in baselines if row["proposal"] == name] for name in ("uniform", "global")}
    lines = []
    for uniform, ranked in zip(*by_name.values(), strict=True):
        most = max(uniform["nonzero_params"], ranked["nonzero_params"])
        found = [row["accuracy"] for row in front if row["nonzero_params"] <= most]
        accuracies = [max(found, default=None), uniform["accuracy"], ranked["accuracy"]]
        lines.append([f"{most:,}", *("" if value is None else f"{value:.2f} %" for value in accuracies)])
    return markdown(["parameters not zero, at most", "search", "every layer the same share", "one ranking"], lines)


def sweep_table(rows: Sequence[Row]) -> str:
    """A sweep over sparsities; accuracies on the validation split."""
    knee = knee_of(rows)
    head = ["sparsity", "validation accuracy", "fine-tuned", "parameters not zero", "zipped weights, bytes"]
    lines = [
        [
            f"{100 * row['sparsity']:.0f} %" + (" (knee)" if row is knee else ""),
            *("" if row.get(name) is None else f"{row[name]:.2f} %" for name in ("accuracy", "accuracy_finetuned")),
            f"{row['nonzero_params']:,}",
            f"{row['zipped_bytes']:,}",
        ]
        for row in rows
    ]
    return markdown(head, lines)
