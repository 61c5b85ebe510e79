"""What do cheap measurements say of networks with the same multiply-adds, once these are trained?

Usage: python benchmarks/equal_flops.py EXPERIMENT [--set KEY=VALUE] [--shares 0.5 0.3 0.15] [--codes 16] [--out FOLDER]
For each share of the multiply-adds: codes of the shapes that people and searches come up with, all within one per cent
of the share; each trained by the experiment's `retrain` recipe from compensated weights, every third with a second
seed, which tells how well a training agrees with itself. Then everything that is cheaper measures the same codes. The
rank correlation with the trained accuracy, per second, says which fidelity a search should use.

Trainings are kept in FOLDER/equal_flops.csv, cheap measurements in FOLDER/equal_flops_cheap.csv, both with the codes,
at once: an interrupted run goes on. The table is equal_flops.md.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from benchmark_tools import add_arguments, describe, markdown, open_context
from cheap_measures import SENSITIVITY_IMAGES, measure_cheaply
from scipy.stats import spearmanr
from torch_pruning_codes import peer_codes
from trainings import train_networks

from evoprune.data.tensors import place_data
from evoprune.pruning.importance.sensitivity import Curves
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Scores, fill, keep_best, prune_global, prune_to_flops, prune_uniform
from evoprune.space.space import Code, SearchSpace
from evoprune.stages.analyse import measure_sensitivity
from evoprune.stages.context import Context

CodeOf = Callable[[float], Code]
Widths = npt.NDArray[np.float64]
"""Share of its channels that each of the search space's groups keeps."""
SPREADS = (0.15, 0.3)
"""Of random shapes around the uniform one, in the logarithm of the widths."""


def shapes(context: Context, curves: Curves, count: int) -> Iterator[tuple[str, CodeOf]]:
    """Names, and what gives each shape's code of at most so many multiply-adds, and nearly as many."""
    space, scores = context.space, context.scores("magnitude")
    yield "uniform", partial(prune_to_flops, space, scores, prune_uniform)
    yield "by least squares error", partial(prune_to_flops, space, scores, prune_global)
    for strength in (0.5, 1.0):
        offsets = strength * curves.offsets()
        yield f"by sensitivity x {strength:g}", partial(_code_of, space, scores, partial(np.add, offsets))
    rng = np.random.default_rng(0)
    for number in range(count - 6):
        spread = SPREADS[number % len(SPREADS)]
        factors = np.exp(rng.normal(0, spread, len(space.groups)))
        yield f"random {spread:g}, {number}", partial(_code_of, space, scores, partial(np.multiply, factors))


def _code_of(space: SearchSpace, scores: Scores, shape: Callable[[float], Widths], most: float) -> Code:
    """The code of the highest level of a shape that has no more than `most` multiply-adds, filled up."""

    def code_at(level: float) -> Code:
        widths = np.array([group.width for group in space.groups])
        return keep_best(space, scores, np.clip(np.round(shape(level) * widths), 1, widths).astype(int).tolist())

    low, high = -1.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if code_costs(space, code_at(middle))["flops"] <= most else (low, middle)
    filled = fill(space, scores, (code_at(low), code_at(high)), most)
    return fill(space, scores, (filled, space.full_code()), most)  # a channel of a trunk may cost four per cent


def all_codes(context: Context, shares: list[float], count: int) -> list[dict[str, Any]]:
    """Rows of method, share and code."""
    space, data = context.space, place_data(context.dataset.arrays, context.compute.device)
    full = code_costs(space, space.full_code())["flops"]
    curves = measure_sensitivity(context, "magnitude", SENSITIVITY_IMAGES)
    rows: list[dict[str, Any]] = [
        {"method": name, "share": share, "code": shape(share * full)}
        for share in shares
        for name, shape in shapes(context, curves, count)
    ]
    peers = peer_codes(space, context.base.network, data, shares)
    scores = context.scores("magnitude")
    for name, share, code in peers:
        if "Taylor" in name:
            continue  # has the shape of L2 local
        counts = [int(group.of(code).sum()) for group in space.groups]
        rows.append({"method": f"{name}'s shape", "share": share, "code": keep_best(space, scores, counts)})
    return [
        {**row, "code": space.format_code(row["code"])}
        for row in sorted(rows, key=lambda row: shares.index(row["share"]))
    ]


def correlations(trained: pd.DataFrame, cheap: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation with the test accuracy of the first seed, by share, and seconds per code."""
    first = trained[trained["seed"] == 0].set_index(["share", "code"])["test"]
    second = trained[trained["seed"] == 1].set_index(["share", "code"])["test"].rename("value").reset_index()
    every = pd.concat([cheap, second.assign(measure="trained again, other seed", seconds=np.nan)])
    joined = every.join(first, on=["share", "code"]).dropna(subset=["test"])
    table = pd.DataFrame(
        {
            share: part.groupby("measure").apply(lambda rows: spearmanr(rows["value"], rows["test"]).statistic)
            for share, part in joined.groupby("share")
        }
    )
    table["mean"] = table.mean(axis=1)
    table["seconds"] = joined.groupby("measure")["seconds"].mean()
    return table.sort_values("mean", ascending=False).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--codes", type=int, default=16)
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        rows = all_codes(context, arguments.shares, arguments.codes)
        again = [{**row, "seed": 1} for row in rows[::3]]
        networks = [{"inherit": "compensated", **row} for row in (*({**row, "seed": 0} for row in rows), *again)]
        trained = train_networks(context, networks, arguments.out / "equal_flops.csv")
        cheap = measure_cheaply(context, rows, arguments.out / "equal_flops_cheap.csv")
        recipe = context.experiment.retrain
        text = (
            f"{describe(context)}\n\nRank correlation with the test accuracy after {recipe.epochs:g} epochs "
            f"(lr {recipe.lr:g}), by share of the multiply-adds.\n\n{markdown(correlations(trained, cheap))}\n"
        )
    (arguments.out / "equal_flops.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
