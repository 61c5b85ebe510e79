"""Does a cheap measurement rank candidates as a longer training does? Kendall's tau, over all and inside FLOPs bins.

Usage: python benchmarks/rung_correlation.py EXPERIMENT [--set KEY=VALUE] [--codes 40] [--rungs 0 0.1 0.25]
           [--long 1] [--bins 4] [--out FOLDER]
Measures random codes, as many in every FLOPs bin, at every rung and at the longer training. Every measurement is kept
in FOLDER/rung_correlation.csv at once, so that an interrupted run goes on; the table is rung_correlation.md.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from benchmark_tools import append_row, make_parser, open_context, write_result
from scipy.stats import kendalltau

from evoprune.config import Fidelity
from evoprune.evaluation.candidate_job import Batch
from evoprune.search.proposals.random import Random
from evoprune.space.costs import code_costs, compute_costs
from evoprune.stages.context import Context
from evoprune.stages.measure_candidates import job_factory
from evoprune.workers.dispatch import dispatch
from evoprune.workers.pool import open_workers

_RANGE = (0.05, 0.95)  # of the base network's FLOPs


def draw_codes(context: Context, count: int, bins: int) -> list[str]:
    """`count` random codes as text, as many in each of `bins` equal ranges of FLOPs."""
    space = context.space
    rng = np.random.default_rng(0)
    codes = Random(space, context.experiment.search.min_keep).first(200 * count, rng)
    shares = compute_costs(space, codes)["flops"] / code_costs(space, space.full_code())["flops"]
    edges = np.linspace(*_RANGE, bins + 1)
    chosen = [np.flatnonzero((shares >= low) & (shares < high))[: count // bins] for low, high in pairwise(edges)]
    return [space.format_code(codes[index]) for index in np.stack(chosen, axis=1).reshape(-1)]


def measure(context: Context, items: Sequence[tuple[str, float]], path: Path) -> pd.DataFrame:
    """Measure what is not in the file yet; returns all of it."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["code", "epochs"])
    known = set(zip(done["code"], done["epochs"], strict=True))
    missing = [item for item in items if item not in known]
    batches = [Batch((code,), Fidelity(epochs)) for code, epochs in missing]
    with open_workers(context.experiment.workers, job_factory(context)) as workers:
        for event in dispatch(workers, batches):
            code, epochs = missing[event.index]
            append_row(path, {"code": code, "epochs": epochs, **event.value})
            print(f"{epochs:g} epochs: {event.value['accuracy']} % at {event.value['flops']:,} flops", flush=True)
    return pd.read_csv(path)


def correlations(measured: pd.DataFrame, long: float, bins: int) -> pd.DataFrame:
    """Kendall's tau of every rung with the longer training: all codes, inside FLOPs bins, and what FLOPs alone give."""
    table = measured.pivot_table(index=["code", "flops"], columns="epochs", values="accuracy").reset_index()
    table = table.dropna(subset=[long])
    table["bin"] = pd.qcut(table["flops"], bins, labels=False)
    rows = []
    for name in ["flops", *sorted(column for column in table.columns if isinstance(column, float) and column != long)]:
        both = table.dropna(subset=[name])
        inside = [float(kendalltau(part[name], part[long])[0]) for _, part in both.groupby("bin")]
        seconds = measured.loc[measured["epochs"] == name, "seconds"].median() if name != "flops" else 0.0
        rows.append(
            {
                "ranked by": "FLOPs alone" if name == "flops" else f"{name:g} epochs",
                "codes": len(both),
                "median seconds": seconds,
                "tau, all": float(kendalltau(both[name], both[long])[0]),
                "tau, mean of bins": float(np.mean(inside)),
                **{f"bin {number}": tau for number, tau in enumerate(inside, start=1)},
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--codes", type=int, default=40)
    parser.add_argument("--rungs", type=float, nargs="+", default=[0.0, 0.1, 0.25])
    parser.add_argument("--long", type=float, default=1.0)
    parser.add_argument("--bins", type=int, default=4)
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        codes = draw_codes(context, arguments.codes, arguments.bins)
        items = [(code, epochs) for code in codes for epochs in (*arguments.rungs, arguments.long)]
        measured = measure(context, items, arguments.out / "rung_correlation.csv")
        table = correlations(measured, arguments.long, arguments.bins)
        words = f"{arguments.long:g} epochs ranked by less, {arguments.codes} codes:"
        write_result(arguments.out / "rung_correlation.md", context, words, table)


if __name__ == "__main__":
    main()
