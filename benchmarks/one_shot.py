"""One-shot pruning, ours and the living peer's, at the same multiply-adds and after the same training.

Usage: python benchmarks/one_shot.py EXPERIMENT [--set KEY=VALUE] [--shares 0.5 0.3 0.15] [--seeds 3] [--out FOLDER]
Torch-Pruning prunes by its settings, evoprune by `evoprune prune --flops`, with the default, with its criterion of old
(l1) and with SCOP. Each is trained by the experiment's `retrain` recipe twice: from weights as they are, and
compensated. Trainings are kept in FOLDER/one_shot.csv at once, so that an interrupted run goes on; the table is
one_shot.md.
"""

import argparse
from collections.abc import Iterator
from itertools import product

from benchmark_tools import ALL_SCORES, add_arguments, describe, markdown, open_context
from torch_pruning_codes import peer_codes
from trainings import means, train_networks

from evoprune.config import ImportanceConfig
from evoprune.data.tensors import place_data
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.pruning.importance.criteria import channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.space.costs import code_costs
from evoprune.space.ranking import RANKINGS, Scores, prune_to_flops
from evoprune.space.space import Code
from evoprune.stages.context import Context

DEFAULT = "evoprune prune"
INHERIT = ("compensated", "plain")


def one_shot_codes(context: Context, shares: list[float]) -> Iterator[tuple[str, float, Code]]:
    """Method, share of the multiply-adds, code."""
    space, ranking = context.space, RANKINGS[context.experiment.importance.ranking]
    full = code_costs(space, space.full_code())["flops"]
    scores: dict[str, Scores] = {
        DEFAULT: context.scores("magnitude"),
        f"{DEFAULT}, l1": _l1_scores(context),
        f"{DEFAULT} --method scop": context.scores("scop"),
    }
    for (name, values), share in product(scores.items(), shares):
        yield name, share, prune_to_flops(space, values, ranking, share * full)
    data = place_data(context.dataset.arrays, context.compute.device)
    yield from peer_codes(space, context.base.network, data, shares)


def _l1_scores(context: Context) -> Scores:
    data = place_data(context.dataset.arrays, context.compute.device)
    options = ImportanceOptions(ImportanceConfig(criterion="l1"), context.compute)
    found = channel_importance(context.base.network, data, context.space, "magnitude", options)
    return segment_scores(context.space, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with open_context(arguments, ALL_SCORES) as context:
        codes = list(one_shot_codes(context, arguments.shares))
        networks = []
        for seed, inherit, (method, share, code) in product(range(arguments.seeds), INHERIT, codes):
            row = {"method": method, "share": share, "inherit": inherit, "seed": seed}
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
