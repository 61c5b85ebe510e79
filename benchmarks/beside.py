"""The published front's neighbours: networks that nobody searched for, with the same training.

Usage: python benchmarks/beside.py EXPERIMENT [--set KEY=VALUE] [--mflops 19.14 6.14] [--seeds 1] [--out FOLDER]
For each size, in million multiply-adds: all groups at one rate, with inherited weights and from scratch; the best
one-shot setting of Torch-Pruning, and what `evoprune prune --flops` leaves. Each is trained by the experiment's
`retrain` recipe. Trainings are kept in FOLDER/beside.csv at once, so that an interrupted run goes on; the table is
beside.md.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from benchmark_tools import add_arguments, describe, markdown, open_context
from torch_pruning_codes import peer_codes
from trainings import means, train_networks

from evoprune.config import RetrainConfig
from evoprune.data.tensors import place_data
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_to_flops, prune_uniform
from evoprune.space.space import Code
from evoprune.stages.analyse import make_ranking
from evoprune.stages.context import Context

UNIFORM, SCRATCH, ONE_SHOT = "uniform", "uniform, from scratch", "evoprune prune"
PEER = "Torch-Pruning, L2 isomorphic"
METHODS = (UNIFORM, SCRATCH, PEER, ONE_SHOT)


def codes(context: Context, shares: list[float], methods: list[str]) -> Iterator[tuple[str, float, Code]]:
    """Method, share of the multiply-adds, code."""
    space, scores = context.space, context.scores("magnitude")
    full = code_costs(space, space.full_code())["flops"]
    rankings = {UNIFORM: prune_uniform, SCRATCH: prune_uniform}
    if ONE_SHOT in methods:
        rankings[ONE_SHOT] = make_ranking(context, "magnitude")
    for name, share in product(rankings, shares):
        yield name, share, prune_to_flops(space, scores, rankings[name], share * full)
    if PEER in methods:
        data = place_data(context.dataset.arrays, torch.device("cpu"))
        yield from (found for found in peer_codes(space, context.base.network, data, shares) if found[0] == PEER)


def rows(context: Context, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One for each training."""
    full = code_costs(context.space, context.space.full_code())["flops"]
    shares = [1e6 * size / full for size in arguments.mflops]
    found = list(codes(context, shares, arguments.methods))
    for seed, (method, share, code) in product(range(arguments.seeds), found):
        if method in arguments.methods:
            inherit = "plain" if method == SCRATCH else "compensated"
            row = {"method": method, "share": round(share, 4), "inherit": inherit, "seed": seed}
            yield {**row, "code": context.space.format_code(code)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--mflops", type=float, nargs="+", default=[19.14, 6.14])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        recipe = context.experiment.retrain
        scratch = RetrainConfig.model_validate({**recipe.model_dump(by_alias=True), "from": "scratch"})
        networks = list(rows(context, arguments))
        trained = train_networks(context, networks, arguments.out / "beside.csv", {SCRATCH: scratch})
        text = (
            f"{describe(context)}\n\nTest accuracy in % after {recipe.epochs:g} epochs (lr {recipe.lr:g}); "
            f"recalibrated: validation accuracy before.\n\n{markdown(means(trained, ['share', 'method']))}\n"
        )
    (arguments.out / "beside.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
