"""Does the fidelity ladder pay? Hypervolume at equal wall-clock time, with the ladder and with every candidate trained.

Usage: python benchmarks/ladder.py EXPERIMENT [--set KEY=VALUE] [--seeds 3] [--minutes 5] [--out FOLDER]
The experiment has a ladder; the other arm is the same without it. Both search, in turns, until the time is up. Only
rows of the full fidelity count, so that both are judged by the same measurement. Writes ladder.csv, ladder.md and the
fronts, ladder_fronts.csv, which trained_fronts.py can read.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmark_tools import make_parser, open_context, write_result

from evoprune.common.objectives import OK, Row
from evoprune.config import load_experiment
from evoprune.runs.table import read_rows
from evoprune.search.pareto import hypervolume, non_dominated
from evoprune.space.costs import code_costs
from evoprune.stages.context import Context

ARMS = {"every candidate trained": ["evaluation.ladder=[]"], "ladder": []}
_POLL_S = 0.2
_UNENDING = "search.generations=100000"


def search_for(seconds: float, experiment: str, overrides: Sequence[str], folder: Path) -> list[Row]:
    """Search in a process of its own until `seconds` after its first row, and return the rows."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = [sys.executable, "-m", "evoprune.cli", "search", experiment, "--out", str(folder), *sets]
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while process.poll() is None and not _has_rows(folder):
                time.sleep(_POLL_S)
            process.wait(timeout=seconds)
            raise SystemExit(f"{folder.name} ended before its time: {Path(log.name).read_text()}")
        except subprocess.TimeoutExpired:
            return read_rows(folder / "reports.csv")
        finally:
            process.terminate()  # a process in the background ignores SIGINT
            process.wait()


def _has_rows(folder: Path) -> bool:
    path = folder / "reports.csv"
    return path.exists() and path.read_bytes().count(b"\n") > 1


def trained(rows: Sequence[Row], context: Context) -> pd.DataFrame:
    """Code, accuracy, FLOPs and losses (error, share of the base network's FLOPs) of the rows of the full fidelity."""
    full = code_costs(context.space, context.space.full_code())["flops"]
    epochs = context.experiment.evaluation.epochs
    good = [row for row in rows if row["status"] == OK and row["epochs"] == epochs]
    table = pd.DataFrame(good, columns=["code", "accuracy", "flops"])
    return table.assign(error=1 - table["accuracy"] / 100, share=table["flops"] / full)


def measure(arguments: argparse.Namespace, context: Context, work: Path) -> list[dict[str, Any]]:
    """One row per seed and arm; the arm that goes first alternates."""
    measured, fronts = [], []
    for seed in range(arguments.seeds):
        for name in sorted(ARMS, reverse=bool(seed % 2)):
            overrides = [*arguments.overrides, *ARMS[name], f"seed={seed}", _UNENDING]
            overrides.append(f"base.weights={context.folder.base}")
            rows = search_for(60 * arguments.minutes, arguments.experiment, overrides, work / f"{name[:6]}-{seed}")
            full = trained(rows, context)
            losses = full[["error", "share"]].to_numpy()
            measured.append(
                {
                    "seed": seed,
                    "arm": name,
                    "candidates": sum(row["rung"] == 0 for row in rows),
                    "trained": len(full),
                    "hypervolume": hypervolume(losses, np.ones(2)),
                }
            )
            print(measured[-1], flush=True)
            pd.DataFrame(measured).to_csv(arguments.out / "ladder.csv", index=False)
            front = full[non_dominated(losses)].drop(columns=["error", "share"])
            fronts.append(front.assign(proposal=name, seed=seed))
            pd.concat(fronts).to_csv(arguments.out / "ladder_fronts.csv", index=False)
    return measured


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each arm, and the ratio of hypervolumes seed by seed."""
    table = rows.groupby("arm", sort=False).agg(
        candidates=("candidates", "mean"),
        trained=("trained", "mean"),
        hypervolume=("hypervolume", "mean"),
        spread=("hypervolume", "std"),
    )
    by_seed = rows.pivot(index="seed", columns="arm", values="hypervolume")
    ratio = by_seed["ladder"] / by_seed["every candidate trained"]
    return table.reset_index().assign(
        **{"ladder / every, by seed": ["", " ".join(f"{value:.4f}" for value in ratio)][: len(table)]}
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    if not load_experiment(arguments.experiment, arguments.overrides).evaluation.ladder:
        parser.error("the experiment has no evaluation.ladder")
    with open_context(arguments) as context, tempfile.TemporaryDirectory() as folder:
        table = summarise(pd.DataFrame(measure(arguments, context, Path(folder))))
        write_result(arguments.out / "ladder.md", context, "", table)


if __name__ == "__main__":
    main()
