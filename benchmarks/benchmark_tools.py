"""What the benchmarks share: their arguments, the base network, codes, and the description of the machine."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from evoprune.common.hardware import available_cpus, cpu_name
from evoprune.common.processes import descendants
from evoprune.config import load_experiment
from evoprune.data.tensors import place_data
from evoprune.networks.device import device_name
from evoprune.pruning.importance.aggregate import segment_scores
from evoprune.pruning.importance.criteria import channel_importance
from evoprune.pruning.importance.options import ImportanceOptions
from evoprune.report import tables
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.provenance import git_commit
from evoprune.search.proposals.random import Random
from evoprune.space.ranking import Scores
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.pipeline import prepare


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of an experiment is asked: which experiment, and where the results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    return parser


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
    return _describe(f"{device_name(context.compute.device)}, {context.compute.precision}")


def describe_machine() -> str:
    """The same where there is no experiment."""
    return _describe(cpu_name())


def _describe(device: str) -> str:
    return (
        f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {device}, torch {torch.__version__}, "
        f"commit {git_commit() or 'unknown'}"
    )


def write_result(path: Path, context: Context, words: str, table: pd.DataFrame) -> None:
    """Write and print a table, and before it the command that it comes from and what it says."""
    text = "\n\n".join(filter(None, (describe(context), words, markdown(table)))) + "\n"
    path.write_text(text)
    print(text)


def ray_workers() -> list[int]:
    """Ids of the workers on Ray that this process, or one of its own, has started."""
    found = []
    for process in descendants():
        with suppress(OSError):
            if Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"ray::_Actor"):
                found.append(process.pid)
    return found


def known_rows(path: Path, columns: list[str]) -> set[tuple[str, ...]]:
    """What stands in these columns of each row of a table, as texts; nothing where there is no table yet."""
    return set(pd.read_csv(path, dtype=str)[columns].itertuples(index=False, name=None)) if path.exists() else set()


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a table, which is made where it is not there."""
    pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)


def markdown(table: pd.DataFrame) -> str:
    """A table for a README, numbers with at most three decimals."""
    cells = [[f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value) for value in row]
             for row in table.itertuples(index=False)]  # fmt: skip
    return tables.markdown(list(map(str, table.columns)), cells)
