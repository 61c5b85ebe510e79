"""Is nothing lost? Harms searches on digits in random ways, and counts how often all is right in the end.

Usage: python benchmarks/chaos.py [--trials "run kills=20" ...] [--seed 0] [--out results/benchmarks]
Each trial harms a run of its own, of 12 candidates and two full trainings. Right means: the same command ends with the
tables and weights of a run that nothing was done to, times aside; or it refuses what is broken in one message.
  bad files      an experiment in which something is wrong: status 0 or 2 and one message, within 10 s
  damaged files  a random file of a finished run is damaged
  lost workers   a candidate kills its worker each time: it alone is lost, and is measured when the search goes on
  worker kills   a Ray worker is killed at a random moment
  signals        a random one at a random moment, on either backend: status 75 within 15 s, nothing is left behind
  run kills      the process is killed at a random moment
Writes chaos.csv and chaos.md. The exit status is 1 where something is wrong.
"""

import argparse
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml
from benchmark_tools import describe, markdown
from chaos_trials import (
    LOCAL,
    Arena,
    Fault,
    damage_file,
    kill_run,
    kill_worker,
    lose_candidate,
    send_signal,
    spoken,
    started,
    write_bad_file,
)

from evoprune.config import load_experiment
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context

TRIALS: dict[str, tuple[Callable[[Arena, Path], Fault], int]] = {
    "bad files": (write_bad_file, 2000),
    "damaged files": (damage_file, 200),
    "lost workers": (lose_candidate, 5),
    "worker kills": (kill_worker, 20),
    "signals": (send_signal, 20),
    "run kills": (kill_run, 20),
}
"""What is done, and how often where `--trials` does not say."""
EXPERIMENT: dict[str, Any] = {
    "name": "chaos",
    "precision": "fp32",
    "data": {"dataset": "digits", "validation": 0.2, "crop": 1, "flip": False},
    "search_space": {"name": "resnet20", "width": 4},
    "base": {"epochs": 3, "batch_size": 64, "lr": 0.1},
    "evaluation": {"epochs": 0.1, "batch_size": 64, "recalibration_images": 256},
    "search": {"random_samples": 4, "num_individual": 4, "generations": 2, "sensitivity": None},
    "retrain": {"select": {"count": 2}, "epochs": 2, "batch_size": 64, "lr": 0.05},
    "workers": {"backend": "local"},
}


def open_arena(folder: Path, seed: int) -> Arena:
    """Write the experiment and do the run that nothing is done to, which trains the base network for all."""
    file = folder / "chaos.yaml"
    file.write_text(yaml.safe_dump({**EXPERIMENT, "base": {**EXPERIMENT["base"], "cache": str(folder / "base")}}))
    arena = Arena(folder, file, folder / "whole", random.Random(seed))
    with started(arena, arena.whole, LOCAL) as (process, _):
        if process.wait():
            raise SystemExit(spoken(["run", str(file), "--out", str(arena.whole)])[1])
    return arena


def run_trials(arena: Arena, counts: Mapping[str, int]) -> Iterator[pd.DataFrame]:
    """The table so far, after each kind that has trials; faults are printed as they come."""
    rows = []
    for kind, number in counts.items():
        harm, _ = TRIALS[kind]
        right = 0
        for trial in range(number):
            run = arena.folder / f"{kind.replace(' ', '_')}_{trial}"
            fault = harm(arena, run)
            right += fault is None
            if fault is not None:
                print(f"{kind}, trial {trial}: {fault}", file=sys.stderr, flush=True)
            shutil.rmtree(run, ignore_errors=True)
        if number:
            rows.append({"what": kind, "trials": number, "right": right})
            print(f"{kind}: {right} of {number} right", file=sys.stderr, flush=True)
            yield pd.DataFrame(rows)


def count(text: str) -> tuple[str, int]:
    """`kind=number` of `--trials`."""
    kind, _, number = text.partition("=")
    if kind not in TRIALS or not number.isdigit():
        raise argparse.ArgumentTypeError(f"KIND=NUMBER, where KIND is one of: {', '.join(TRIALS)}")
    return kind, int(number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=count, nargs="*", default=[], metavar="KIND=NUMBER", help="others than usual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # networks this small are far slower on many threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    arguments.out.mkdir(parents=True, exist_ok=True)
    counts = {kind: number for kind, (_, number) in TRIALS.items()} | dict(arguments.trials)
    with TemporaryDirectory() as work:
        arena = open_arena(Path(work), arguments.seed)
        words = describe(Context(load_experiment(str(arena.file), []), RunFolder(Path())))
        for table in run_trials(arena, counts):
            table.to_csv(arguments.out / "chaos.csv", index=False)
            (arguments.out / "chaos.md").write_text(f"{words}\n\n{markdown(table)}\n", encoding="utf-8")
    print(markdown(table))
    return 0 if (table["trials"] == table["right"]).all() else 1


if __name__ == "__main__":
    raise SystemExit(main())
