"""What a pruning without a search has come to: its finished steps, and a table of them. No torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoprune.config import ImportanceName
from evoprune.costs import COST_NAMES, code_costs
from evoprune.files import write_atomically
from evoprune.records import Row, write_output
from evoprune.run_folder import RunFolder
from evoprune.space import Code, SearchSpace

ACCURACIES = ("accuracy_before", "accuracy_cut", "accuracy_recalibrated", "accuracy", "test_accuracy")
_WEIGHTS_NAME = "model.safetensors"


@dataclass(frozen=True)
class Pruning:
    """A pruning without a search: which importance, how far, in how many steps, how each is trained.

    Attributes:
        method: the importance that says which channels go.
        target: the name of its `Target`.
        steps: how many times it cuts and trains.
        training: the keys of `retrain` that the networks depend on.
    """

    method: ImportanceName
    target: str
    steps: int
    training: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.method}-{self.target}" + (f"-steps-{self.steps}" if self.steps > 1 else "")

    def facts(self, step: int) -> dict[str, Any]:
        """What the model of a step says of how it was made; one with other facts is made again."""
        pruning = {"method": self.method, "target": self.target, "steps": self.steps, "step": step}
        return {"pruning": pruning, "training": dict(self.training)}


def step_folder(folder: RunFolder, pruning: Pruning, step: int) -> Path:
    """Where the model of a step lies, counted from 1."""
    return folder.pruned(pruning.name) / f"step_{step}"


def finished_steps(folder: RunFolder, pruning: Pruning) -> list[dict[str, Any]]:
    """Descriptions of the models of the first steps, up to one that is not made yet or was made otherwise."""
    found: list[dict[str, Any]] = []
    for step in range(1, pruning.steps + 1):
        file = step_folder(folder, pruning, step) / "model.json"
        description = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if any(description.get(name) != value for name, value in pruning.facts(step).items()):
            break
        found.append(description)
    return found


def write_summary(folder: RunFolder, pruning: Pruning, space: SearchSpace, base: Mapping[str, Any]) -> str:
    """Write `summary.csv` and `summary.md`, a row for the parent and for every finished step; returns the table."""
    known = {"accuracy": base["validation_accuracy"], "test_accuracy": base["test_accuracy"]}
    rows = [_row(space, 0, space.full_code(), known, folder.base)]
    for step, description in enumerate(finished_steps(folder, pruning), start=1):
        code = space.parse_code(description["code"])
        rows.append(_row(space, step, code, description, step_folder(folder, pruning, step)))
    kept = [f"kept.{segment.name}" for segment in space.segments]
    columns = ["step", "rate", *ACCURACIES, *COST_NAMES, "file_bytes", "key", "model", *kept, "code"]
    write_output(folder.pruned(pruning.name) / "summary.csv", rows, columns)
    table = _table(rows)
    write_atomically(folder.pruned(pruning.name) / "summary.md", table + "\n")
    return table


def _row(space: SearchSpace, step: int, code: Code, known: Mapping[str, Any], model: Path) -> Row:
    return {
        "step": step,
        "rate": round(1 - int(code.sum()) / space.length, 6),
        **{name: known.get(name) for name in ACCURACIES},
        **code_costs(space, code),
        "file_bytes": (model / _WEIGHTS_NAME).stat().st_size,
        "key": space.key(code),
        "model": str(model),
        **{f"kept.{name}": width for name, width in space.widths(code).items()},
        "code": space.format_code(code),
    }


def _table(rows: Sequence[Row]) -> str:
    """Markdown; accuracies in percent, on the validation split but for the last column of them."""
    lines = [
        "| step | channels cut | before | cut | recalibrated | fine-tuned | test | multiply-adds | of parent "
        "| parameters | file, bytes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        accuracies = " | ".join("" if row[name] is None else f"{row[name]:.2f} %" for name in ACCURACIES)
        lines.append(
            f"| {row['step'] or 'parent'} | {100 * row['rate']:.1f} % | {accuracies} | {row['flops']:,} "
            f"| {100 * row['flops'] / rows[0]['flops']:.1f} % | {row['params']:,} | {row['file_bytes']:,} |"
        )
    return "\n".join(lines)
