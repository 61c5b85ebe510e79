"""What the benchmarks share: their arguments, the base network, codes, and the description of the machine."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from evoprune.common.hardware import available_cpus, cpu_name
from evoprune.config import load_experiment
from evoprune.data.tensors import place_data
from evoprune.networks.device import device_name
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.pruning.importance.criteria import channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.provenance import git_commit
from evoprune.search.proposals.random import Random
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and where the results go."""
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))


ALL_SCORES = "search.proposal={evolution: 0.8, magnitude: 0.1, scop: 0.1}"
"""An override that has all scores of the base network's channels computed."""


@contextmanager
def open_context(arguments: argparse.Namespace, *overrides: str) -> Iterator[Context]:
    """A run in a temporary folder, with the base network, which is trained where the cache does not have it."""
    experiment = load_experiment(arguments.experiment, [*arguments.overrides, *overrides])
    arguments.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work, open_run_folder(Path(work) / "run", experiment) as folder:
        context = Context(experiment, folder)
        prepare(context)
        yield context


def random_codes(context: Context, count: int) -> list[str]:
    """Random codes as text, as the first generation of a search draws them."""
    space = context.space
    codes = Random(space, context.experiment.search.min_keep).first(count, np.random.default_rng(0))
    return [space.format_code(space.repair(code)) for code in codes]


def random_scores(space: SearchSpace, seed: int) -> Scores:
    """Made-up importance of every bit of a code; tied channels have the same, as they have in a run."""
    rng = np.random.default_rng(seed)
    scores = np.empty(space.length)
    for group in space.groups:
        group.put(scores, rng.exponential(size=group.width))
    return scores


def criterion_scores(context: Context, criterion: str) -> Scores:
    """Importance of every bit of a code by `criterion`, on the device of `context`, where the base network stays."""
    config = context.experiment.importance.model_copy(update={"criterion": criterion})
    options = ImportanceOptions(config, context.compute, context.experiment.seed, context.moments)
    data = place_data(context.dataset.arrays, context.compute.device)
    network = context.base.network.to(context.compute.device)
    return segment_scores(context.space, channel_importance(network, data, context.space, options=options))


def describe(context: Context) -> str:
    """The command, the machine and the commit that a number comes from."""
    compute = context.compute
    return (
        f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {device_name(compute.device)}, "
        f"{compute.precision}, torch {torch.__version__}, commit {git_commit() or 'unknown'}"
    )


def describe_machine() -> str:
    """The same where there is no experiment."""
    return (
        f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {cpu_name()}, torch {torch.__version__}, "
        f"commit {git_commit() or 'unknown'}"
    )


def markdown(table: pd.DataFrame) -> str:
    """A table for a README, numbers with at most three decimals."""
    cells = [[f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value) for value in row]
             for row in table.itertuples(index=False)]  # fmt: skip
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
