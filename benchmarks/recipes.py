"""How should a slim network be trained? One change of the recipe at a time, on validation accuracy.

Usage: python benchmarks/recipes.py EXPERIMENT [--set KEY=VALUE] [--shares 0.3] [--seeds 1] [--out FOLDER]
The network of each share has uniform widths and what the default criterion finds important. Recipes are changes of the
experiment's `retrain`, all of the same length. What belongs to the images, such as `--set data.flip=alternating`, is
another run with another FOLDER. Trainings are kept in FOLDER/recipes.csv at once, so that an interrupted
run goes on; the table is recipes.md.
"""

from itertools import product
from typing import Any

from benchmark_tools import make_parser, open_context, write_result
from trainings import means, train_networks

from evoprune.config import RetrainConfig
from evoprune.space.costs import code_costs
from evoprune.space.ranking import prune_to_flops, prune_uniform

LR, STRONG = 0.1, {"weight": 0.9, "temperature": 4.0}
PLAIN, COMPENSATED = "plain", "compensated"
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "lr 0.02": (COMPENSATED, {"lr": 0.02}),
    "lr 0.05": (COMPENSATED, {"lr": 0.05}),
    "lr 0.1": (COMPENSATED, {"lr": LR}),
    "lr 0.2": (COMPENSATED, {"lr": 0.2}),
    "lr 0.1, distilled 0.5, T 4": (COMPENSATED, {"lr": LR, "distillation": {"weight": 0.5, "temperature": 4.0}}),
    "lr 0.1, distilled 0.9, T 4": (COMPENSATED, {"lr": LR, "distillation": STRONG}),
    "lr 0.1, distilled 0.9, T 2": (COMPENSATED, {"lr": LR, "distillation": {"weight": 0.9, "temperature": 2.0}}),
    "lr 0.05, distilled 0.9, T 4": (COMPENSATED, {"lr": 0.05, "distillation": STRONG}),
    "lr 0.1, averaged": (COMPENSATED, {"lr": LR, "averaging": 0.999}),
    "lr 0.1, less decay": (COMPENSATED, {"lr": LR, "weight_decay": 1e-4}),
    "lr 0.1, from plain weights": (PLAIN, {"lr": LR}),
    "lr 0.1, from scratch": (PLAIN, {"lr": LR, "from": "scratch"}),
}
"""What the weights begin with, and what the recipe has otherwise."""


def recipe(base: RetrainConfig, changes: dict[str, Any]) -> RetrainConfig:
    """The experiment's recipe with some keys changed, and distillation off unless it is among them."""
    return RetrainConfig.model_validate({**base.model_dump(by_alias=True), "distillation": None, **changes})


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        space, scores = context.space, context.scores("magnitude")
        full = code_costs(space, space.full_code())["flops"]
        networks = []
        for seed, share, name in product(range(arguments.seeds), arguments.shares, arguments.recipes):
            code = space.format_code(prune_to_flops(space, scores, prune_uniform, share * full))
            networks.append({"method": name, "share": share, "inherit": RECIPES[name][0], "seed": seed, "code": code})
        own = {name: recipe(context.experiment.retrain, RECIPES[name][1]) for name in arguments.recipes}
        trained = train_networks(context, networks, arguments.out / "recipes.csv", own)
        words = f"Accuracy in % after {context.experiment.retrain.epochs:g} epochs, best validation accuracy first."
        table = means(trained, ["share", "method"], "validation")
        write_result(arguments.out / "recipes.md", context, words, table)


if __name__ == "__main__":
    main()
