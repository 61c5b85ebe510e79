"""What `report.html` draws, as JSON types."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evoprune.common.objectives import INFEASIBLE, OBJECTIVES, OK, Row, to_losses
from evoprune.common.ranks import spearman
from evoprune.common.user_files import is_user_file
from evoprune.config import Experiment
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.report.compared import ComparedRun, base_of, dataset_of, network_of
from evoprune.report.picks import fragile_groups
from evoprune.report.published import published_for
from evoprune.search.front import fronts_by_generation, hypervolume_by_evaluation, latest_rows
from evoprune.search.pareto import knees
from evoprune.space.space import SearchSpace

MOST_POINTS = 5000
MOST_FAILURES = 200
_LONGEST_REASON = 300
_FACTS = ("id", "generation", "proposal", "key", "status")


def page_data(rows: Sequence[Row], front: Sequence[Row], experiment: Experiment, space: SearchSpace) -> dict[str, Any]:
    """Everything of a search that the page shows, with published results for the same network and data.

    Args:
        rows: of `reports.csv`.
        front: of `output.csv`, cheapest first.
        experiment: the run's.
        space: the search space.

    Returns:
        The page's data. `others` (of `compared_data`), `sensitivity` (of `sensitivity_data`), `live` (whether the
        run goes on) and `stage` (how far it is then) are empty.
    """
    names, network = experiment.search.objectives, experiment.network
    candidates = latest_rows(rows)
    fronts = fronts_by_generation(rows, names)
    drawn = _drawn([row for row in candidates if row["status"] in (OK, INFEASIBLE)], [*fronts, front])
    place = {row["id"]: index for index, row in enumerate(drawn)}
    shown = [name for name in OBJECTIVES if name in rows[0]]
    spreads = ["latency_spread"] if any(row.get("latency_spread") is not None for row in rows) else []
    facts = [*_FACTS, *shown, *spreads]
    base = base_of(rows, space)
    knee = knees(to_losses(front, names), 1) if front else []
    return {
        "measures": [_measure(name, name in names) for name in shown],
        "columns": facts,
        "points": [[row[name] for name in facts] for row in drawn],
        "failures": _failures(candidates),
        "fronts": [[place[row["id"]] for row in one] for one in fronts],
        "front": [{"key": row["key"], "proposal": row["proposal"], "test": row.get("test_accuracy"),
                   "std": row.get("test_accuracy_std"), "seeds": row.get("num_seeds"),
                   "kept": [row[f"kept.{segment.name}"] for segment in space.segments],
                   "at": place[row["id"]]} for row in front],
        "segments": [[segment.name, segment.width] for segment in space.segments],
        "base": {name: base.get(name) for name in facts[len(_FACTS):]},
        "knee": front[knee[0]]["key"] if knee else None,
        "hypervolume": [round(value, 5) for value in hypervolume_by_evaluation(rows, names, space)],
        "status": dict(Counter(row["status"] for row in candidates)),
        "total": len(candidates),
        "rank_correlation": _rank_correlation(front),
        "published": published_for(experiment, space),
        "name": experiment.name,
        "space": space.name,
        "network": network_of(experiment),
        "source": network.source if network is not None and is_user_file(network.source) else None,
        "dataset": dataset_of(experiment),
        "others": [],
        "sensitivity": [],
        "live": False,
        "stage": "",
    }  # fmt: skip


def compared_data(runs: Sequence[ComparedRun], names: Sequence[str]) -> list[dict[str, Any]]:
    """Runs beside the page's own; `names` are the measures that the page shows."""
    return [
        {"name": run.name, "network": run.network, "dataset": run.dataset,
         "base": {name: run.base.get(name) for name in names},
         "front": [{"key": row["key"], "test": row["test_accuracy"], **{name: row.get(name) for name in names}}
                   for row in run.front]}
        for run in runs
    ]  # fmt: skip


def sensitivity_data(name: str, curves: Curves) -> dict[str, Any]:
    """Curves of a sensitivity table: of each segment its rates, losses in points, and whether to leave it alone."""
    fragile = set(fragile_groups(curves))
    lines = [
        {"segment": group.name, "width": group.width, "fragile": group.name in fragile,
         "points": [[round(float(rate), 4), round(float(loss), 3)] for rate, loss in zip(rates, losses, strict=True)
                    if np.isfinite(loss)]}
        for group, rates, losses in zip(curves.space.groups, curves.rates, curves.losses, strict=True)
    ]  # fmt: skip
    return {"name": name, "curves": lines}


def _measure(name: str, is_objective: bool) -> Mapping[str, Any]:
    objective = OBJECTIVES[name]
    unit = "" if objective.unit == objective.label else objective.unit
    return {"name": name, "label": objective.label, "unit": unit, "more": objective.maximise,
            "objective": is_objective}  # fmt: skip


def _drawn(good: Sequence[Row], fronts: Sequence[Sequence[Row]]) -> list[Row]:
    """All that were measured; where they are too many to draw, those of all fronts and a sample at even steps."""
    if len(good) <= MOST_POINTS:
        return list(good)
    members = {row["id"] for front in fronts for row in front}
    others = [row for row in good if row["id"] not in members]
    some = np.linspace(0, len(others) - 1, max(0, MOST_POINTS - len(members))).astype(int)
    chosen = members | {others[index]["id"] for index in some}
    return [row for row in good if row["id"] in chosen]


def _failures(candidates: Sequence[Row]) -> list[list[Any]]:
    """Id, key, status and reason of the last candidates that were not measured."""
    failed = [row for row in candidates if row["status"] not in (OK, INFEASIBLE)][-MOST_FAILURES:]
    return [[row["id"], row["key"], row["status"], (row["error"] or "")[:_LONGEST_REASON]] for row in failed]


def _rank_correlation(front: Sequence[Row]) -> float | None:
    """Spearman's, of search accuracy and test accuracy; None below three networks or without a spread."""
    tested = [(row["accuracy"], row["test_accuracy"]) for row in front if row.get("test_accuracy") is not None]
    if len(tested) < 3:
        return None
    correlation = spearman(*np.array(tested).T)
    return None if correlation is None else round(correlation, 3)
