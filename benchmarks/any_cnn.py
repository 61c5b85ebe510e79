"""How long any network takes: reading its search space, the parity gate, slim networks, costs; candidates per hour.

The first rows are of torchvision's ResNet-50 at 224 pixels. The last ones are a ResNet-20 that evoprune carries, and
the same network as a stranger writes it, whose search space is traced: the same code of half the channels is measured
in turns, with the same short training.

Usage: python benchmarks/any_cnn.py EXPERIMENT [--set KEY=VALUE] [--rounds 5] [--epochs 0.25] [--out FOLDER]
EXPERIMENT is one of ResNet-20 on images of 32 pixels. Writes any_cnn.csv and any_cnn.md. Run it on a quiet machine.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmark_tools import describe, make_parser, markdown, open_context
from cnn_zoo import PlainResNet
from torch import nn
from torchvision import models

from evoprune import build_network, compute_costs, slim_network, trace_search_space
from evoprune.config import Fidelity
from evoprune.data.tensors import place_data
from evoprune.evaluation.evaluator import Evaluator
from evoprune.space.ranking import prune_uniform
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.tracing.parity import failing_segments

_PIXELS, _NUM_CODES, _RATE = 224, 100_000, 0.5
Seconds = dict[str, float]


def resnet50(rounds: int) -> Iterator[Seconds]:
    """Seconds of each step on a ResNet-50."""
    network = models.resnet50(num_classes=1000).eval()
    images = torch.randn(2, 3, _PIXELS, _PIXELS)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        seconds, space = _timed(trace_search_space, network, images)
        yield {"trace": seconds}
        yield {"parity gate": _timed(failing_segments, space.table, network, images)[0]}
        code = space.repair(rng.random(space.length) < _RATE)
        yield {"slim network": _timed(slim_network, space, network, code)[0]}
        codes = rng.integers(0, 2, (_NUM_CODES, space.length), dtype=np.uint8)
        yield {"costs of 100,000 codes": _timed(compute_costs, space, codes)[0]}


def candidates(context: Context, rounds: int, epochs: float) -> Iterator[Seconds]:
    """Seconds of a candidate of each ResNet-20, in turns."""
    torch.manual_seed(0)
    shape = context.source.shape
    stranger = PlainResNet(shape.num_classes, shape.in_channels).eval()
    traced = trace_search_space(stranger, torch.zeros(2, shape.in_channels, *shape.height_width))
    carried = build_network(context.space).eval()
    pair: dict[str, tuple[SearchSpace, nn.Module]] = {
        "carried": (context.space, carried),
        "stranger": (traced, stranger),
    }
    data = place_data(context.dataset.arrays, context.compute.device)
    evaluation = context.experiment.evaluation
    for number in range(rounds + 1):
        for name, (space, network) in pair.items():
            evaluator = Evaluator(space, network.to(context.compute.device), data, evaluation, context.compute, 0)
            code = prune_uniform(space, np.zeros(space.length), _RATE)
            measured = evaluator.evaluate([code], Fidelity(epochs))[0]
            assert measured["status"] == "ok", measured["error"]
            if number:  # the first round compiles
                yield {f"candidate, {name}": measured["seconds"], f"multiply-adds, {name}": measured["flops"]}


def _timed(call: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - started, result


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """The median, the least and the most of each quantity, and the stranger's candidates per hour."""
    table = rows.describe().T[["50%", "min", "max"]].round(3).rename(columns={"50%": "median"})
    ratio = table.loc["candidate, carried", "median"] / table.loc["candidate, stranger", "median"]
    table.loc["candidates per hour, stranger / carried"] = [round(ratio, 3), np.nan, np.nan]
    return table.rename_axis("quantity").reset_index()


def main() -> None:
    """Time everything and write the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=0.25)
    arguments = parser.parse_args()
    with open_context(arguments) as context:
        rows = pd.DataFrame([*resnet50(arguments.rounds), *candidates(context, arguments.rounds, arguments.epochs)])
        table, text = summary(rows), describe(context)
    table.to_csv(arguments.out / "any_cnn.csv", index=False)
    (arguments.out / "any_cnn.md").write_text(f"{text}\n\n{markdown(table)}\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
