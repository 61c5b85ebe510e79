"""Pictures of a run. The only module that imports a plotting library."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from evoprune.common.objectives import OBJECTIVES, OK, Row
from evoprune.config import Experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.compared import ComparedRun
from evoprune.report.picks import fragile_groups, knee_of, with_accuracy
from evoprune.report.tables import end_of
from evoprune.search.front import fronts_by_generation, full_row, latest_rows
from evoprune.space.costs import COST_NAMES

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.fonttype": "none", "pdf.fonttype": 42})  # letters that a paper's editor can read

_DOTS_PER_INCH = 300
_LONGEST_LABEL = 80  # of letters of 8 points, in a picture of one panel

Paths = Sequence[Path]
"""Files of one picture, each of the kind that its ending names."""
Style = Mapping[str, Any]
"""Colour and label of what is drawn."""


def draw_hypervolume(paths: Paths, volumes: Sequence[float], names: Sequence[str]) -> None:
    """The hypervolume after each generation."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(volumes, marker="o", markersize=3, drawstyle="steps-post")
    axes.set(xlabel="generation", ylabel=f"hypervolume of {' and '.join(OBJECTIVES[name].label for name in names)}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    _save(figure, paths)


def draw_front(
    paths: Paths, rows: Sequence[Row], front: Sequence[Row], experiment: Experiment, published: Sequence[Row] = ()
) -> None:
    """One panel for every objective against the first: all candidates, the front of some generations, test accuracy.

    Args:
        paths: files to write, of any formats.
        rows: of `reports.csv`.
        front: of `output.csv`, with test accuracies where there are any.
        experiment: its objectives, and how often a front is drawn.
        published: networks of others to mark, each with `flops` and `accuracy`.
    """
    names, every = experiment.search.objectives, experiment.report.every
    figure, panels = _panels(names)
    good = [row for row in latest_rows(rows) if row["status"] == OK]
    fronts = fronts_by_generation(rows, names)
    last = len(fronts) - 1
    shown = sorted({0, *range(every, last, every), last})
    base = full_row(rows)
    for axes, name in zip(panels, names[1:], strict=True):
        axes.scatter(*_columns(good, name, names[0]), color="0.8", s=8, label="candidates")
        for generation in shown:
            color = plt.get_cmap("viridis")(0.9 - 0.9 * shown.index(generation) / max(1, len(shown) - 1))
            _steps(axes, fronts[generation], names, name, {"color": color, "label": f"front, generation {generation}"})
        _stars(axes, front, names, name, {"color": "crimson", "label": "fully trained, test"})
        if base is not None:
            _diamond(axes, base, names, name, {"color": "black", "label": "base network"})
        if published and (names[0], name) == ("accuracy", "flops"):
            axes.scatter(*_columns(published, name, names[0]), color="darkorange", marker="v", s=24, label="published")
        axes.legend(fontsize=8)
    _save(figure, paths)


def draw_comparison(paths: Paths, runs: Sequence[ComparedRun], names: Sequence[str]) -> None:
    """One panel for every objective against the first: the front of each run, its base network, test accuracies."""
    figure, panels = _panels(names)
    are_trained = any(row.get("test_accuracy") is not None for run in runs for row in run.front)
    for axes, name in zip(panels, names[1:], strict=True):
        for number, run in enumerate(runs):
            color = plt.get_cmap("tab10")(number % 10)
            _steps(axes, run.front, names, name, {"color": color, "label": _label(run.name)})
            _stars(axes, run.front, names, name, {"color": color})
            _diamond(axes, run.base, names, name, {"color": color})
        axes.plot([], [], "D", mfc="none", color="black", label="base network")
        if are_trained:
            axes.plot([], [], "*", color="black", linestyle="none", label="fully trained, test")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    _save(figure, paths)


def _label(name: str) -> str:
    """A run's name as matplotlib shows it: a dollar begins a formula there, and a name that begins with _ is hidden."""
    shown = end_of(name, _LONGEST_LABEL).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _panels(names: Sequence[str]) -> tuple[Any, Sequence[Any]]:
    """A figure with a panel for every objective against the first, whose axes are labelled."""
    count = len(names) - 1
    figure, panels = plt.subplots(1, count, figsize=(7 * count, 5), layout="constrained", squeeze=False)
    for axes, name in zip(panels[0], names[1:], strict=True):
        for axis, one in ((axes.xaxis, name), (axes.yaxis, names[0])):
            axis.set_label_text(OBJECTIVES[one].full_label)
            if one in COST_NAMES:
                axis.set_major_formatter(EngFormatter())
        axes.grid(alpha=0.3)
    return figure, panels[0]


def _steps(axes: Any, front: Sequence[Row], names: Sequence[str], name: str, style: Style) -> None:
    """A front as the steps that it is; points joined by lines where there are more than two objectives."""
    line = _columns(sorted(front, key=itemgetter(name)), name, names[0])
    steps = "steps-post" if len(names) == 2 and not OBJECTIVES[name].maximise else "default"
    axes.plot(*line, marker=".", linewidth=1, drawstyle=steps, **style)


def _stars(axes: Any, front: Sequence[Row], names: Sequence[str], name: str, style: Style) -> None:
    tested = [row for row in front if row.get("test_accuracy") is not None]
    if tested and names[0] == "accuracy":
        axes.scatter(*_columns(tested, name, "test_accuracy"), s=36, marker="*", zorder=3, **style)


def _diamond(axes: Any, base: Mapping[str, Any], names: Sequence[str], name: str, style: Style) -> None:
    if base.get(name) is not None and base.get(names[0]) is not None:
        axes.scatter([base[name]], [base[names[0]]], marker="D", facecolors="none", edgecolors=style["color"],
                     label=style.get("label"), zorder=3)  # fmt: skip


def draw_sensitivity(paths: Paths, curves: Curves) -> None:
    """One line for every group of segments: what pruning it alone costs, against the share of it that is pruned.

    Those to leave alone are red.
    """
    fragile = fragile_groups(curves)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(curves.rates)))
    for group, color, rates, losses in zip(curves.space.groups, colors, curves.rates, curves.losses, strict=True):
        finite = np.isfinite(losses)
        color, label = ("crimson", f"{group.name}: leave alone") if group.name in fragile else (color, group.name)
        axes.plot(100 * rates[finite], losses[finite], marker=".", color=color, label=label)
    axes.set(
        xlabel="channels pruned (%)", ylabel="validation accuracy lost (points)", title="each segment pruned alone"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=1 + len(curves.rates) // 20)
    _save(figure, paths)


def draw_sweep(paths: Paths, rows: Sequence[Row], scope: str) -> None:
    """Accuracy against the share of the weights that go, without and with fine-tuning, and where the curve bends."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    pruned = with_accuracy(rows)
    percent = [100 * row["sparsity"] for row in pruned]
    axes.plot(percent, [row["accuracy"] for row in pruned], marker=".", label="pruned")
    tuned = [row for row in rows if row.get("accuracy_finetuned") is not None]
    if tuned:
        label = f"pruned, {tuned[0]['epochs']:g} epochs of fine-tuning"
        axes.plot([100 * row["sparsity"] for row in tuned], [row["accuracy_finetuned"] for row in tuned],
                  marker=".", label=label)  # fmt: skip
    knee = knee_of(rows)
    axes.scatter([100 * knee["sparsity"]], [knee["accuracy"]], s=80, color="crimson", marker="*", zorder=3,
                 label=f"knee without fine-tuning, {100 * knee['sparsity']:.0f} %")  # fmt: skip
    axes.set(xlabel="weights pruned (%)", ylabel="validation accuracy (%)", title=f"smallest weights out, {scope}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, paths)


def draw_sparsity_front(paths: Paths, rows: Sequence[Row], front: Sequence[Row], baselines: Sequence[Row]) -> None:
    """Accuracy against parameters that are not zero: a search over sparsities of layers, its front, two baselines."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    axes.scatter(*_columns(with_accuracy(rows), "nonzero_params", "accuracy"), s=8, color="silver", label="candidates")
    for name, label in (("uniform", "every layer the same share"), ("global", "one ranking of all weights")):
        known = [row for row in with_accuracy(baselines) if row["proposal"] == name]
        known.sort(key=lambda row: row["nonzero_params"])
        axes.plot(*_columns(known, "nonzero_params", "accuracy"), marker=".", label=label)
    axes.plot(*_columns(front, "nonzero_params", "accuracy"), marker=".", color="crimson", label="front of the search")
    axes.set(xlabel="parameters that are not zero", ylabel="validation accuracy (%)", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, paths)


def _columns(rows: Sequence[Row], x: str, y: str) -> tuple[list[Any], list[Any]]:
    return [row[x] for row in rows], [row[y] for row in rows]


def _save(figure: Any, paths: Paths) -> None:
    for path in paths:
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    plt.close(figure)
