"""One-shot pruning, ours and the living peer's, at the same multiply-adds and after the same training.

Usage: python benchmarks/one_shot.py EXPERIMENT [--set KEY=VALUE] [--shares 0.5 0.3 0.15] [--seeds 3] [--out FOLDER]
Torch-Pruning prunes by its settings, evoprune by `evoprune prune --flops`: with the default, at uniform widths, with
its criterion of old (l1) and with SCOP. Each is trained by the experiment's `retrain` recipe twice: from weights
as they are, and compensated. Trainings are kept in FOLDER/one_shot.csv at once, so that an interrupted run goes on; the
table is one_shot.md.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import torch
from benchmark_tools import ALL_SCORES, add_arguments, criterion_scores, describe, markdown, open_context
from torch_pruning_codes import peer_codes
from trainings import means, train_networks

from evoprune.data.tensors import place_data
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Ranking, Scores, prune_to_flops, prune_uniform
from evoprune.space.space import Code
from evoprune.stages.analyse import make_ranking
from evoprune.stages.context import Context

DEFAULT = "evoprune prune"
INHERIT = ("compensated", "plain")


def one_shot_codes(context: Context, shares: list[float]) -> Iterator[tuple[str, float, Code]]:
    """Method, share of the multiply-adds, code."""
    space = context.space
    full = code_costs(space, space.full_code())["flops"]
    magnitude = context.scores("magnitude")
    ours: dict[str, tuple[Scores, Ranking]] = {
        DEFAULT: (magnitude, make_ranking(context, "magnitude")),
        f"{DEFAULT}, uniform": (magnitude, prune_uniform),
        f"{DEFAULT}, uniform, l1": (criterion_scores(context, "l1"), prune_uniform),
        f"{DEFAULT} --method scop": (context.scores("scop"), make_ranking(context, "scop")),
        f"{DEFAULT} --method scop, uniform": (context.scores("scop"), prune_uniform),
    }
    for (name, (scores, ranking)), share in product(ours.items(), shares):
        yield name, share, prune_to_flops(space, scores, ranking, share * full)
    data = place_data(context.dataset.arrays, torch.device("cpu"))
    yield from peer_codes(space, context.base.network, data, shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--inherit", nargs="+", choices=INHERIT, default=INHERIT)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="as in the table; all by default")
    arguments = parser.parse_args()
    with open_context(arguments, ALL_SCORES) as context:
        codes = list(one_shot_codes(context, arguments.shares))
        networks = []
        for inherit, seed, (method, share, code) in product(arguments.inherit, range(arguments.seeds), codes):
            row = {"method": method, "share": share, "inherit": inherit, "seed": seed}
            if method in (arguments.methods or [method]):
                networks.append({**row, "code": context.space.format_code(code)})
        table = means(train_networks(context, networks, arguments.out / "one_shot.csv"), ["share", "method", "inherit"])
        recipe = context.experiment.retrain
        text = (
            f"{describe(context)}\n\nTest accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}); "
            f"recalibrated: validation accuracy before.\n\n{markdown(table)}\n"
        )
    (arguments.out / "one_shot.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
