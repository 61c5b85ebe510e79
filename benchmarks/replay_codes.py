"""Published codes trained again, by more seeds, on another machine or by another recipe.

Usage: python benchmarks/replay_codes.py EXPERIMENT TABLE [--set KEY=VALUE] [--shares 0.15] [--methods NAME ...]
           [--seeds 3] [--out FOLDER]
TABLE is any that the other benchmarks have left, with the columns method, share and code, such as trained_fronts.csv.
Each of its codes is trained by the experiment's `retrain` recipe, from scratch where `retrain.from` says so, else from
the weights that `inherit` says. Trainings are kept in FOLDER/replayed_codes.csv at once, so that an interrupted run
goes on; the table is replayed_codes.md.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from benchmark_tools import make_parser, open_context, write_result
from trainings import SCRATCH, means, train_networks

KNOWN_BY = ["method", "share", "code"]


def wanted(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Each code once, in the order of the table."""
    table = pd.read_csv(arguments.table)[KNOWN_BY].drop_duplicates()
    if arguments.shares:
        table = table[table["share"].isin(arguments.shares)]
    if arguments.methods:
        table = table[table["method"].isin(arguments.methods)]
    return table.to_dict("records")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("table", metavar="TABLE", type=Path)
    parser.add_argument("--shares", type=float, nargs="+")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    codes = wanted(arguments)
    if not codes:
        parser.error(f"{arguments.table} has no code of these methods and shares")
    with open_context(arguments) as context:
        recipe = context.experiment.retrain
        inherit = SCRATCH if recipe.start == SCRATCH else context.experiment.inherit
        networks = [{**row, "inherit": inherit, "seed": seed} for seed in range(arguments.seeds) for row in codes]
        trained = train_networks(context, networks, arguments.out / "replayed_codes.csv")
        words = (
            f"Test accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}), weights at its start: {inherit}; "
            "recalibrated: validation accuracy of inherited weights."
        )
        write_result(arguments.out / "replayed_codes.md", context, words, means(trained, ["share", "method"]))


if __name__ == "__main__":
    main()
