"""What do cheap measurements say of networks with the same multiply-adds, once these are trained?

Usage: python benchmarks/equal_flops.py EXPERIMENT [--set KEY=VALUE] [--shares 0.5 0.3 0.15] [--random 10]
           [--fronts FILE] [--trained TABLE...] [--out FOLDER]
For each share of the multiply-adds: codes of the shapes that people and searches come up with, all within one per cent
of the share; each trained by the experiment's `retrain` recipe from compensated weights, every third with a second
seed, which tells how well a training agrees with itself. Then everything that is cheaper measures the same codes. The
rank correlation with the trained accuracy, per second, says which fidelity a search should use. With `--trained`
nothing is trained: the codes are those of other tables of trainings (trained_fronts.csv, one_shot.csv), at these
shares and from compensated weights.

The codes are kept in FOLDER/equal_flops_codes.csv, trainings in FOLDER/equal_flops.csv, cheap measurements in
FOLDER/equal_flops_cheap.csv, at once: an interrupted run goes on. The table is equal_flops.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmark_tools import make_parser, open_context, write_result
from cheap_measures import SENSITIVITY_IMAGES, measure_cheaply
from code_shapes import front_codes, random_shapes, sensitivity_shapes, usual_shapes
from scipy.stats import spearmanr
from torch_pruning_codes import peer_codes
from trainings import train_networks

from evoprune.data.tensors import place_data
from evoprune.space.costs import code_costs
from evoprune.space.ranking import keep_best
from evoprune.space.space import Code
from evoprune.stages.context import Context
from evoprune.stages.curves import measure_sensitivity

AGAIN = "trained again, other seed"


def all_codes(context: Context, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of method, share and code, those of FOLDER/equal_flops_codes.csv where it is there."""
    path = arguments.out / "equal_flops_codes.csv"
    if not path.exists():
        rows = [
            {"method": method, "share": share, "code": context.space.format_code(code)}
            for method, share, code in _new_codes(context, arguments)
        ]
        rows.sort(key=lambda row: arguments.shares.index(row["share"]))
        pd.DataFrame(rows).to_csv(path, index=False)
    table = pd.read_csv(path)
    return table[table["share"].isin(arguments.shares)].to_dict("records")


def _new_codes(context: Context, arguments: argparse.Namespace) -> Iterator[tuple[str, float, Code]]:
    space, scores, shares = context.space, context.scores("magnitude"), arguments.shares
    full = code_costs(space, space.full_code())["flops"]
    curves = measure_sensitivity(context, "magnitude", SENSITIVITY_IMAGES)
    shapes = [*usual_shapes(context), *sensitivity_shapes(context, curves), *random_shapes(context, arguments.random)]
    for name, shape in shapes:
        yield from ((name, share, shape(share * full)) for share in shares)
    if arguments.fronts is not None:
        yield from front_codes(context, pd.read_csv(arguments.fronts), shares)
    data = place_data(context.dataset.arrays, torch.device("cpu"))
    for name, share, code in peer_codes(space, context.base.network, data, shares):
        if "Taylor" not in name:  # has the shape of L2 local
            counts = [int(group.of(code).sum()) for group in space.groups]
            yield f"{name}'s shape", share, keep_best(space, scores, counts)


def trained_before(paths: list[Path], shares: list[float]) -> pd.DataFrame:
    """The trainings of several tables, from compensated weights at these shares."""
    every = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    return every[(every["inherit"] == "compensated") & every["share"].isin(shares)]


def correlations(trained: pd.DataFrame, cheap: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation with the mean test accuracy of each code, by share, and seconds per code.

    The row "trained again" correlates the first training of a code with its second one, where it has two.
    """
    by_code = trained.groupby(["share", "code"])["test"]
    first, second = (by_code.nth(number).rename("value") for number in (0, 1))
    again = trained.loc[second.index, ["share", "code"]].assign(value=second, measure=AGAIN, seconds=np.nan)
    ones = trained.loc[first.index].set_index(["share", "code"])["test"]
    joined = pd.concat(
        [cheap.join(by_code.mean(), on=["share", "code"]), again.join(ones, on=["share", "code"])]
    ).dropna(subset=["test"])
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
    parser = make_parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--random", type=int, default=10, help="random shapes")
    parser.add_argument("--fronts", type=Path, help="fronts of search_quality.py, whose members and mutants join")
    parser.add_argument("--trained", type=Path, nargs="+", help="tables of trainings, in place of new ones")
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        if arguments.trained:
            trained = trained_before(arguments.trained, arguments.shares)
            rows = trained.drop_duplicates(["share", "code"])[["method", "share", "code"]].to_dict("records")
        else:
            rows = all_codes(context, arguments)
            again = [{**row, "seed": 1} for row in rows[::3]]
            networks = [{"inherit": "compensated", **row} for row in (*({**row, "seed": 0} for row in rows), *again)]
            trained = train_networks(context, networks, arguments.out / "equal_flops.csv")
        cheap = measure_cheaply(context, rows, arguments.out / "equal_flops_cheap.csv")
        recipe = context.experiment.retrain
        words = (
            f"Rank correlation with the test accuracy after {recipe.epochs:g} epochs (lr {recipe.lr:g}), by share of "
            "the multiply-adds."
        )
        write_result(arguments.out / "equal_flops.md", context, words, correlations(trained, cheap))


if __name__ == "__main__":
    main()
