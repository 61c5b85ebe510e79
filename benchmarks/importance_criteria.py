"""Which channels should a network keep when all layers keep the same share? Criteria of importance at equal widths.

Usage: python benchmarks/importance_criteria.py EXPERIMENT [--set KEY=VALUE] [--criteria l1 least_squares]
           [--shares 0.5 0.3 0.15] [--seeds 1] [--out FOLDER]
For each criterion of `importance.criterion` and SCOP, and each share of the multiply-adds: the code of the same widths,
with the channels that the criterion finds most important. Each is trained by the experiment's `retrain` recipe twice:
compensated, and from weights as they are. Trainings are kept in FOLDER/importance_criteria_NETWORK.csv at once, so that
an interrupted run goes on; the table is importance_criteria_NETWORK.md.
"""

from collections.abc import Iterator
from itertools import product
from typing import get_args

from benchmark_tools import ALL_SCORES, criterion_scores, make_parser, open_context, write_result
from trainings import means, train_networks

from evoprune.config import ImportanceConfig
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_to_flops, prune_uniform
from evoprune.space.space import Code
from evoprune.stages.context import Context

SCOP = "scop"
CRITERIA: tuple[str, ...] = (*get_args(ImportanceConfig.model_fields["criterion"].annotation), SCOP)
INHERIT = ("compensated", "plain")


def equal_width_codes(context: Context, criteria: list[str], shares: list[float]) -> Iterator[tuple[str, float, Code]]:
    """Criterion, share of the multiply-adds, code."""
    space = context.space
    full = code_costs(space, space.full_code())["flops"]
    for criterion in criteria:
        scores = context.scores(SCOP) if criterion == SCOP else criterion_scores(context, criterion)
        for share in shares:
            yield criterion, share, prune_to_flops(space, scores, prune_uniform, share * full)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=list(CRITERIA))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3, 0.15])
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    with open_context(arguments, *[ALL_SCORES] * (SCOP in arguments.criteria)) as context:
        codes = list(equal_width_codes(context, arguments.criteria, arguments.shares))
        networks = []
        for seed, inherit, (method, share, code) in product(range(arguments.seeds), INHERIT, codes):
            row = {"method": method, "share": share, "inherit": inherit, "seed": seed}
            networks.append({**row, "code": context.space.format_code(code)})
        out = arguments.out / f"importance_criteria_{context.space.name}"
        trained = train_networks(context, networks, out.with_name(f"{out.name}.csv"))
        table = means(trained, ["share", "inherit", "method"]).dropna(axis="columns", how="all")
        table = table.sort_values(["share", "inherit", "test"], ascending=[False, True, False])
        recipe = context.experiment.retrain
        words = (
            f"Test accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}); recalibrated: validation accuracy "
            "before."
        )
        write_result(out.with_name(f"{out.name}.md"), context, words, table)


if __name__ == "__main__":
    main()
