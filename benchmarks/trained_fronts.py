"""Is the front still better after training? Networks of the front against one-shot pruners at the same FLOPs.

Usage: python benchmarks/trained_fronts.py EXPERIMENT [--set KEY=VALUE] [--fronts FILE] [--proposal evolution]
           [--shares 0.5 0.3] [--seeds 3] [--out FOLDER]
Takes the fronts that search_quality.py or ladder.py has written (search_quality_fronts.csv of FOLDER by default). For
each share of the base network's FLOPs and each seed: the most accurate network of that seed's front with no more FLOPs,
and what magnitude and SCOP leave at the highest uniform rate that has no fewer than it (rates come in steps: so the
pruners have up to some percent more, never less); all trained by the experiment's `retrain` recipe, tested once.
Trainings are kept in FOLDER/trained_fronts.csv at once, so that an interrupted run goes on; the table is
trained_fronts.md.
"""

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from benchmark_tools import ALL_SCORES, add_arguments, describe, markdown, open_context
from search_quality import DEFAULT, FRONTS

from evoprune.config import ImportanceName
from evoprune.evaluation.training_job import Task, Trained, training_job
from evoprune.space.costs import code_costs, compute_costs
from evoprune.space.ranking import prune_uniform
from evoprune.stages.context import Context
from evoprune.workers.dispatch import dispatch
from evoprune.workers.pool import open_workers

PRUNERS: tuple[ImportanceName, ...] = ("magnitude", "scop")


def uniform_prunings(context: Context, method: ImportanceName) -> pd.DataFrame:
    """Every network that a uniform rate can leave, by FLOPs."""
    space, scores = context.space, context.scores(method)
    steps = max(segment.width for segment in space.segments)
    codes = [prune_uniform(space, scores, step / steps) for step in range(steps)]
    return pd.DataFrame({"code": list(map(space.format_code, codes)), "flops": compute_costs(space, codes)["flops"]})


def chosen(context: Context, fronts: pd.DataFrame, shares: list[float], seeds: int) -> pd.DataFrame:
    """One row per network to train: share, seed, method, code, flops."""
    full = code_costs(context.space, context.space.full_code())["flops"]
    prunings = {method: uniform_prunings(context, method) for method in PRUNERS}
    rows: list[dict[str, Any]] = []
    for share, seed in product(shares, range(seeds)):
        small = fronts[(fronts["seed"] == seed) & (fronts["flops"] <= share * full)]
        best = small.loc[small["accuracy"].idxmax()]
        rows.append({"share": share, "seed": seed, "method": best["proposal"], **best[["code", "flops"]]})
        for method, table in prunings.items():
            pruned = table.loc[table["flops"][table["flops"] >= best["flops"]].idxmin()]
            rows.append({"share": share, "seed": seed, "method": method, **pruned})
    return pd.DataFrame(rows)


def train(context: Context, networks: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Train what is not in the file yet; returns all of it."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["share", "seed", "method", "code"])
    known = set(zip(done["code"], done["seed"], done["share"], done["method"], strict=True))
    missing = [row for row in networks.to_dict("records")
               if (row["code"], row["seed"], row["share"], row["method"]) not in known]  # fmt: skip
    experiment = context.experiment
    factory = partial(training_job, experiment, context.space, context.base.network, context.dataset)
    with TemporaryDirectory() as work, open_workers(experiment.workers, factory) as workers:
        tasks = [
            Task(f"n{index}", row["code"], row["seed"], f"{work}/{index}.ckpt") for index, row in enumerate(missing)
        ]
        for event in dispatch(workers, tasks):
            if isinstance(event.value, Trained):
                trained = {"validation": event.value.validation_accuracy, "test": event.value.test_accuracy}
                row = pd.DataFrame([{**missing[event.index], **trained}])
                row.to_csv(path, mode="a", header=not path.exists(), index=False)
                print(row.drop(columns="code").to_dict("records")[0], flush=True)
    return pd.read_csv(path)


def summarise(trained: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of the test accuracy over the seeds."""
    table = trained.groupby(["share", "method"], as_index=False).agg(
        seeds=("seed", "count"), flops=("flops", "mean"), test=("test", "mean"), std=("test", "std")
    )
    return table.sort_values(["share", "test"], ascending=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--fronts", type=Path)
    parser.add_argument("--proposal", default=DEFAULT)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with open_context(arguments, ALL_SCORES) as context:
        fronts = pd.read_csv(arguments.fronts or arguments.out / FRONTS)
        fronts = fronts[fronts["proposal"] == arguments.proposal]
        networks = chosen(context, fronts, arguments.shares, arguments.seeds)
        table = summarise(train(context, networks, arguments.out / "trained_fronts.csv"))
        recipe = context.experiment.retrain
        text = (
            f"{describe(context)}\n\nTest accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}) from "
            "inherited weights; the front's networks have no more FLOPs than the pruners'."
            f"\n\n{markdown(table)}\n"
        )
    (arguments.out / "trained_fronts.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
