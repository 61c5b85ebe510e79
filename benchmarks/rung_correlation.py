"""Does a cheap measurement rank candidates as a longer training does? Kendall's tau, over all and inside FLOPs bins.

Usage: python benchmarks/rung_correlation.py EXPERIMENT [--set KEY=VALUE] [--codes 40] [--rungs 0 0.05 0.1 0.25]
           [--long 1.5] [--bins 4] [--out FOLDER]
Measures random codes, as many in every FLOPs bin, at every rung and at the longer training. Every measurement is kept in
FOLDER/rung_correlation.csv at once, so that an interrupted run goes on; the table is rung_correlation.md.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from evoprune.compute import make_compute
from evoprune.config import Experiment, load_experiment
from evoprune.costs import compute_costs
from evoprune.data import load_data
from evoprune.evaluation import Evaluator
from evoprune.proposals import Random
from evoprune.run_folder import open_run_folder
from evoprune.setting import Setting, prepare
from evoprune.workers import Job, open_workers

_RANGE = (0.05, 0.95)  # of the parent's FLOPs


def draw_codes(setting: Setting, count: int, bins: int) -> list[str]:
    """`count` random codes as text, as many in each of `bins` equal ranges of FLOPs."""
    space = setting.space
    rng = np.random.default_rng(0)
    nobody = np.zeros((200 * count, 2, space.length), dtype=np.uint8)
    codes = Random(space, setting.experiment.search.min_keep).propose(nobody, rng)
    full = float(compute_costs(space, space.full_code()[None])["flops"][0])
    shares = compute_costs(space, codes)["flops"] / full
    edges = np.linspace(*_RANGE, bins + 1)
    chosen = [np.flatnonzero((shares >= low) & (shares < high))[: count // bins] for low, high in zip(edges, edges[1:])]
    return [space.format_code(codes[index]) for index in np.stack(chosen, axis=1).reshape(-1)]


def make_job(experiment: Experiment, space: Any, parent: Any) -> Job:
    """Build, in a worker, what measures one (code, epochs) after the other."""
    compute = make_compute("cpu", experiment.precision, experiment.workers.cpus_per_worker)
    evaluator = Evaluator(
        space,
        parent.eval(),
        load_data(experiment.data, compute.device),
        experiment.evaluation,
        compute,
        experiment.seed,
    )

    def job(item: tuple[str, float]) -> Iterator[dict[str, Any]]:
        yield from evaluator.evaluate([space.parse_code(item[0])], item[1])

    return job


def measure(setting: Setting, items: Sequence[tuple[str, float]], path: Path) -> pd.DataFrame:
    """Measure what is not in the file yet; returns all of it."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["code", "epochs"])
    known = set(zip(done["code"], done["epochs"], strict=True))
    missing = [item for item in items if item not in known]
    job = partial(make_job, setting.experiment.for_workers(), setting.space, setting.base.network)
    with open_workers(setting.experiment.workers, job) as workers:
        for event in workers.map(missing):
            code, epochs = missing[event.index]
            row = pd.DataFrame([{"code": code, "epochs": epochs, **event.value}])
            row.to_csv(path, mode="a", header=not path.exists(), index=False)
            print(f"{epochs:g} epochs: {event.value['accuracy']} % at {event.value['flops']:,} flops", flush=True)
    return pd.read_csv(path)


def correlations(measured: pd.DataFrame, long: float, bins: int) -> pd.DataFrame:
    """Kendall's tau of every rung with the longer training: all codes, inside FLOPs bins, and what FLOPs alone give."""
    table = measured.pivot_table(index=["code", "flops"], columns="epochs", values="accuracy").reset_index()
    table = table.dropna()
    where = pd.qcut(table["flops"], bins, labels=False)
    rows = []
    for name in ["flops", *sorted(column for column in table.columns if isinstance(column, float) and column != long)]:
        inside = [float(kendalltau(part[name], part[long])[0]) for _, part in table.groupby(where)]
        seconds = measured.loc[measured["epochs"] == name, "seconds"].median() if name != "flops" else 0.0
        rows.append(
            {
                "ranked by": "FLOPs alone" if name == "flops" else f"{name:g} epochs",
                "median seconds": seconds,
                "tau, all": float(kendalltau(table[name], table[long])[0]),
                "tau, mean of bins": float(np.mean(inside)),
                **{f"bin {number}": tau for number, tau in enumerate(inside, start=1)},
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--codes", type=int, default=40)
    parser.add_argument("--rungs", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.25])
    parser.add_argument("--long", type=float, default=1.5)
    parser.add_argument("--bins", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.experiment, arguments.overrides)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_run_folder(arguments.out / ".parent", experiment) as folder:
        setting = prepare(experiment, folder)
    codes = draw_codes(setting, arguments.codes, arguments.bins)
    items = [(code, epochs) for code in codes for epochs in (*arguments.rungs, arguments.long)]
    measured = measure(setting, items, arguments.out / "rung_correlation.csv")
    print(
        correlations(measured, arguments.long, arguments.bins).to_string(index=False, float_format=lambda v: f"{v:.3f}")
    )


if __name__ == "__main__":
    main()
