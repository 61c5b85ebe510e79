"""Which search is better after training? Networks of the fronts of several arms, trained at equal multiply-adds.

Usage: python benchmarks/trained_fronts.py EXPERIMENT [--set KEY=VALUE] [--fronts FILE] [--proposals NAME ...]
           [--shares 0.5 0.3 0.15] [--trainings 1] [--out FOLDER]
Takes the fronts that search_quality.py or ladder.py has written (search_quality_fronts.csv of FOLDER by default). For
each arm, seed and share of the base network's multiply-adds: the most accurate network of that front with no more,
with the most important of its pruned channels back as far as they fit. So all have about the same multiply-adds. An arm
that has no network so small is left out. Beside them `uniform`: all groups pruned at one rate, without a search. Each
is trained by the experiment's `retrain` recipe from compensated weights, `--trainings` times, with the seeds s, s + 100
and so on, where s is the search's seed. Trainings are kept in FOLDER/trained_fronts.csv at once, so that an interrupted
run goes on; the table is trained_fronts.md.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from benchmark_tools import make_parser, open_context, write_result
from search_quality import FRONTS
from trainings import means, train_networks

from evoprune.space.costs import code_costs
from evoprune.space.ranking import fill, prune_to_flops, prune_uniform
from evoprune.stages.context import Context

SEED_STEP = 100
"""Between the trainings of one network; searches have smaller seeds."""


def chosen(context: Context, fronts: pd.DataFrame, shares: list[float]) -> Iterator[dict[str, Any]]:
    """One row per network to train: method, share, seed and code, as text."""
    space, scores = context.space, context.scores("magnitude")
    full = code_costs(space, space.full_code())["flops"]
    for share in shares:
        most = share * full
        uniform = space.format_code(prune_to_flops(space, scores, prune_uniform, most))
        for seed, same_seed in fronts.groupby("seed"):
            row = {"share": share, "seed": int(str(seed))}
            yield {"method": "uniform", **row, "code": uniform}
            small = same_seed[same_seed["flops"] <= most]
            for best in small.loc[small.groupby("proposal", sort=False)["accuracy"].idxmax()].to_dict("records"):
                code = fill(space, scores, (space.parse_code(best["code"]), space.full_code()), most)
                yield {"method": best["proposal"], **row, "code": space.format_code(code)}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--fronts", type=Path)
    parser.add_argument("--proposals", nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--trainings", type=int, default=1)
    arguments = parser.parse_args()
    fronts = pd.read_csv(arguments.fronts or arguments.out / FRONTS)
    if arguments.proposals:
        fronts = fronts[fronts["proposal"].isin(arguments.proposals)]
    with open_context(arguments) as context:
        networks = [
            {**row, "inherit": "compensated", "seed": row["seed"] + number * SEED_STEP}
            for number, row in product(range(arguments.trainings), list(chosen(context, fronts, arguments.shares)))
        ]
        table = means(train_networks(context, networks, arguments.out / "trained_fronts.csv"), ["share", "method"])
        recipe = context.experiment.retrain
        words = (
            f"Test accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}) from compensated weights; "
            "recalibrated: validation accuracy before."
        )
        write_result(arguments.out / "trained_fronts.md", context, words, table)


if __name__ == "__main__":
    main()
