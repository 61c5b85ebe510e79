"""What a run has found so far: the front, joined with its fully trained networks. No torch."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from evoprune.config import Experiment
from evoprune.costs import COST_NAMES, code_costs
from evoprune.front import spread
from evoprune.objectives import OBJECTIVES, to_losses
from evoprune.records import Row, front_rows, read_rows, report_columns, write_output
from evoprune.run_folder import RunFolder
from evoprune.space import SearchSpace

_RETRAINED = ("test_accuracy", "test_accuracy_std", "num_seeds", "model")


def write_front(folder: RunFolder, rows: Sequence[Row], experiment: Experiment, space: SearchSpace) -> list[Row]:
    """Write `output.csv`: the non-dominated rows, with test accuracy and model path where they are fully trained.

    Where the models are gone altogether, as in published results, what the file already says of them is kept.
    """
    models_are_gone = not (folder.path / "models").exists() and folder.output.exists()
    written = {row["key"]: row for row in read_rows(folder.output)} if models_are_gone else {}
    front = []
    for row in front_rows(rows, experiment.search.objectives):
        before = written.get(row["key"], {})
        kept = {name: before[name] for name in _RETRAINED if before.get("test_accuracy") is not None}
        front.append({**row, **kept, **_retrained(folder, row["key"], experiment)})
    if any("num_seeds" in row for row in front):
        front = [{**row, "num_seeds": row.get("num_seeds", 0)} for row in front]
    columns = report_columns(space, experiment.measures_latency)
    write_output(folder.output, front, columns + [name for name in _RETRAINED if any(name in row for row in front)])
    return front


def training_settings(experiment: Experiment) -> dict[str, Any]:
    """The keys of `retrain` that a fully trained network depends on; a model with others is trained again."""
    settings = experiment.retrain.model_dump(mode="json", by_alias=True)
    return {key: value for key, value in settings.items() if key not in ("select", "seeds")}


def trained_models(folder: RunFolder, key: str, experiment: Experiment) -> list[Mapping[str, Any]]:
    """Descriptions of the networks of `key` that were trained as the experiment says, by seed."""
    found = []
    for seed in range(experiment.retrain.seeds):
        file = folder.model(key, seed) / "model.json"
        description = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if description.get("training") == training_settings(experiment):
            found.append(description)
    return found


def _retrained(folder: RunFolder, key: str, experiment: Experiment) -> dict[str, Any]:
    models = trained_models(folder, key, experiment)
    if not models:
        return {}
    tests = [model["test_accuracy"] for model in models]
    return {
        "test_accuracy": round(statistics.fmean(tests), 4),
        "test_accuracy_std": round(statistics.stdev(tests), 4) if len(tests) > 1 else None,
        "num_seeds": len(tests),
        "model": str(folder.model(key, models[0]["seed"])),
    }


def trade_offs(rows: Sequence[Row], experiment: Experiment, count: int = 4) -> str:
    """The best trade-offs among `rows`, spread over the front, in a few words."""
    names = experiment.search.objectives
    front = front_rows(rows, names)
    parent = next((row for row in rows if row["proposal"] == "full"), None)
    picked = [front[index] for index in spread(to_losses(front, names), count)]
    return "best: " + " | ".join(_describe(row, names, parent) for row in picked) if picked else "best: none yet"


def _describe(row: Row, names: Sequence[str], parent: Row | None) -> str:
    return " ".join(f"{name} {_value(row, name, parent)}" for name in names)


def _value(row: Row, name: str, parent: Row | None) -> str:
    if parent is not None and name in COST_NAMES:
        return f"{100 * row[name] / parent[name]:.0f}%"
    return f"{row[name]:.2f} {OBJECTIVES[name].unit}"


def result_table(front: Sequence[Row], experiment: Experiment, space: SearchSpace, base: Mapping[str, Any]) -> str:
    """The front as a Markdown table beside the uncut parent; costs as shares of the parent's."""
    parent = code_costs(space, space.full_code())
    lines = [
        "| network | multiply-adds | of parent | parameters | validation accuracy in the search "
        "| test accuracy, fully trained |",
        "|---|---|---|---|---|---|",
        f"| uncut parent | {parent['flops']:,} | 100.0 % | {parent['params']:,} | {base['validation_accuracy']:.2f} % "
        f"| {base['test_accuracy']:.2f} % |",
    ]
    for row in reversed(front):
        if row.get("test_accuracy") is not None or experiment.retrain.select == "all":
            lines.append(_table_line(row, parent))
    return "\n".join(lines)


def _table_line(row: Row, parent: Mapping[str, int]) -> str:
    spread_text = f" ± {row['test_accuracy_std']:.2f}" if row.get("test_accuracy_std") is not None else ""
    tested = f"{row['test_accuracy']:.2f} %{spread_text}" if row.get("test_accuracy") is not None else "not trained"
    return (
        f"| `{row['key']}` | {row['flops']:,} | {100 * row['flops'] / parent['flops']:.1f} % | {row['params']:,} "
        f"| {row['accuracy']:.2f} % | {tested} |"
    )
