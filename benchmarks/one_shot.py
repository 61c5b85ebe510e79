"""One-shot pruning, ours and the living peer's, at the same multiply-adds and after the same training.

Usage: python benchmarks/one_shot.py EXPERIMENT [--set KEY=VALUE] [--shares 0.5 0.3 0.15] [--seeds 3] [--out FOLDER]
Torch-Pruning prunes by its settings, evoprune by `evoprune prune --flops`: with the default, at uniform widths, with
its criterion of old (l1) and with SCOP. Each is trained by the experiment's `retrain` recipe twice: from weights
as they are, and compensated; `--inherit scratch` trains the same shapes from none. Trainings are kept in
FOLDER/one_shot.csv at once, so that an interrupted run goes on; the table is one_shot.md.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from benchmark_tools import ALL_SCORES, criterion_scores, make_parser, open_context, write_result
from torch_pruning_codes import SETTINGS, peer_codes
from trainings import SCRATCH, means, train_networks

from evoprune.data.tensors import place_data
from evoprune.space.costs import code_costs
from evoprune.space.ranking import Ranking, Scores, prune_to_flops, prune_uniform
from evoprune.space.space import Code
from evoprune.stages.context import Context
from evoprune.stages.curves import make_ranking

DEFAULT = "evoprune prune"
INHERIT = ("compensated", "plain")
SCOP, SCOP_UNIFORM = f"{DEFAULT} --method scop", f"{DEFAULT} --method scop, uniform"
OURS: dict[str, Callable[[Context], tuple[Scores, Ranking]]] = {
    DEFAULT: lambda context: (context.scores("magnitude"), make_ranking(context, "magnitude")),
    f"{DEFAULT}, uniform": lambda context: (context.scores("magnitude"), prune_uniform),
    f"{DEFAULT}, uniform, l1": lambda context: (criterion_scores(context, "l1"), prune_uniform),
    SCOP: lambda context: (context.scores("scop"), make_ranking(context, "scop")),
    SCOP_UNIFORM: lambda context: (context.scores("scop"), prune_uniform),
}
METHODS = (*OURS, *SETTINGS)


def one_shot_codes(context: Context, shares: list[float], methods: Sequence[str]) -> Iterator[tuple[str, float, Code]]:
    """Method, share of the multiply-adds, code."""
    space = context.space
    full = code_costs(space, space.full_code())["flops"]
    for name in (name for name in OURS if name in methods):
        scores, ranking = OURS[name](context)
        for share in shares:
            yield name, share, prune_to_flops(space, scores, ranking, share * full)
    if SETTINGS.keys() & set(methods):
        data = place_data(context.dataset.arrays, torch.device("cpu"))
        found = peer_codes(space, context.base.network, data, shares)
        yield from (peer for peer in found if peer[0] in methods)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--inherit", nargs="+", choices=(*INHERIT, SCRATCH), default=INHERIT)
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", choices=METHODS, default=METHODS, help="as in the table"
    )
    arguments = parser.parse_args()
    scores = [ALL_SCORES] if {SCOP, SCOP_UNIFORM} & set(arguments.methods) else []
    with open_context(arguments, *scores) as context:
        codes = list(one_shot_codes(context, arguments.shares, arguments.methods))
        networks = []
        for inherit, seed, (method, share, code) in product(arguments.inherit, range(arguments.seeds), codes):
            row = {"method": method, "share": share, "inherit": inherit, "seed": seed}
            networks.append({**row, "code": context.space.format_code(code)})
        table = means(train_networks(context, networks, arguments.out / "one_shot.csv"), ["share", "method", "inherit"])
        recipe = context.experiment.retrain
        words = (
            f"Test accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}); recalibrated: validation accuracy "
            "before."
        )
        write_result(arguments.out / "one_shot.md", context, words, table)


if __name__ == "__main__":
    main()
