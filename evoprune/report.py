"""Pictures and a table of a run. The only module that imports a plotting library."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from evoprune.config import Experiment
from evoprune.costs import code_costs
from evoprune.errors import UserError
from evoprune.front import hypervolume
from evoprune.objectives import OBJECTIVES
from evoprune.records import Row, fronts_by_generation, latest_rows, read_rows
from evoprune.results import result_table, write_front
from evoprune.run_folder import RunFolder
from evoprune.sensitivity_curves import Curves, group_name
from evoprune.space import SearchSpace


def report(folder: RunFolder, experiment: Experiment, space: SearchSpace) -> str:
    """Write `front.png`, `hypervolume.png`, `output.csv` and `table.md`; returns the table."""
    rows = read_rows(folder.reports)
    if not rows:
        raise UserError(f"{folder.reports}: no evaluation is finished yet; `evoprune run` goes on with this run")
    front = write_front(folder, rows, experiment, space)
    names = experiment.search.objectives
    _draw_front(folder.path / "front.png", rows, front, names, experiment.report.every)
    _draw_hypervolume(folder.path / "hypervolume.png", hypervolumes(rows, names, space), names)
    table = result_table(front, experiment, space, folder.facts()["base"])
    (folder.path / "table.md").write_text(table + "\n", encoding="utf-8")
    return table


def hypervolumes(rows: Sequence[Row], names: Sequence[str], space: SearchSpace) -> list[float]:
    """Hypervolume of all candidates up to each generation, in [0, 1].

    Losses are scaled so that 1 is the reference: an accuracy of 0 %, and the cost of the full network (of the slowest
    one where latency was measured and the full network's is not there).
    """
    candidates = latest_rows(rows)
    slowest = max((row["latency"] or 0.0 for row in candidates), default=0.0) if "latency" in names else 0.0
    full = next(
        (row for row in candidates if row["proposal"] == "full" and row["status"] == "ok"), {"latency": slowest}
    )
    parent = {**code_costs(space, space.full_code()), "latency": full.get("latency", 0.0)}
    fronts = fronts_by_generation(candidates, names)
    return [hypervolume(_scaled(front, names, parent), np.ones(len(names))) for front in fronts]


def _scaled(rows: Sequence[Row], names: Sequence[str], parent: Mapping[str, float]) -> np.ndarray:
    columns = []
    for name in names:
        values = np.array([row[name] for row in rows], dtype=float)
        columns.append(1 - values / 100 if OBJECTIVES[name].maximise else values / (parent[name] or 1))
    return np.stack(columns, axis=1) if rows else np.zeros((0, len(names)))


def _draw_hypervolume(path: Path, volumes: Sequence[float], names: Sequence[str]) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(volumes, marker="o", markersize=3)
    axes.set(xlabel="generation", ylabel="hypervolume", title=f"hypervolume of {', '.join(names)}")
    axes.grid(alpha=0.3)
    _save(figure, path)


def _draw_front(path: Path, rows: Sequence[Row], front: Sequence[Row], names: Sequence[str], every: int) -> None:
    """One panel for every objective against the first: all candidates, the front of some generations, test accuracy."""
    figure, panels = plt.subplots(
        1, len(names) - 1, figsize=(7 * (len(names) - 1), 5), layout="constrained", squeeze=False
    )
    good = [row for row in latest_rows(rows) if row["status"] == "ok"]
    fronts = fronts_by_generation(rows, names)
    last = len(fronts) - 1
    shown = sorted({0, *range(every, last, every), last})
    for axes, name in zip(panels[0], names[1:], strict=True):
        _scatter(axes, good, name, names[0], color="0.8", s=8, label="candidates")
        for generation in shown:
            color = plt.get_cmap("viridis")(0.9 - 0.9 * shown.index(generation) / max(1, len(shown) - 1))
            _line(axes, fronts[generation], name, names[0], color=color, label=f"front, generation {generation}")
        tested = [row for row in front if row.get("test_accuracy") is not None]
        if tested and names[0] == "accuracy":
            _scatter(
                axes,
                tested,
                name,
                "test_accuracy",
                color="crimson",
                s=36,
                marker="*",
                label="fully trained, test",
            )
        axes.set(xlabel=f"{name} ({OBJECTIVES[name].unit})", ylabel=f"{names[0]} ({OBJECTIVES[names[0]].unit})")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def draw_sensitivity(path: Path, curves: Curves) -> None:
    """One line for every group of segments: what cutting it alone costs, against the share of it that is cut."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(curves.rates)))
    for group, color, rates, losses in zip(curves.space.tied, colors, curves.rates, curves.losses, strict=True):
        finite = np.isfinite(losses)
        axes.plot(100 * rates[finite], losses[finite], marker=".", color=color, label=group_name(group))
    axes.set(xlabel="channels cut (%)", ylabel="validation accuracy lost (points)", title="each segment cut alone")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=1 + len(curves.rates) // 20)
    _save(figure, path)


def _scatter(axes: Any, rows: Sequence[Row], x: str, y: str, **style: Any) -> None:
    axes.scatter([row[x] for row in rows], [row[y] for row in rows], **style)


def _line(axes: Any, rows: Sequence[Row], x: str, y: str, **style: Any) -> None:
    ordered = sorted(rows, key=lambda row: row[x])
    axes.plot([row[x] for row in ordered], [row[y] for row in ordered], marker=".", linewidth=1, **style)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120)
    plt.close(figure)
