"""What the benchmarks share: their arguments, the parent network, codes, and the description of the machine."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from evoprune.common.hardware import available_cpus
from evoprune.networks.device import device_name, make_compute
from evoprune.config import load_experiment
from evoprune.search.proposals.random import Random
from evoprune.runs.folder import open_run_folder
from evoprune.runs.provenance import git_commit
from evoprune.stages.context import Setting, prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and where the results go."""
    parser.add_argument("experiment", metavar="EXPERIMENT")
    parser.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))


ALL_SCORES = "search.proposal={evolution: 0.8, magnitude: 0.1, scop: 0.1}"
"""An override that has all scores of the parent's channels computed."""


def open_setting(arguments: argparse.Namespace, *overrides: str) -> Setting:
    """The experiment with its parent network, which is trained where the cache does not have it."""
    experiment = load_experiment(arguments.experiment, [*arguments.overrides, *overrides])
    arguments.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work, open_run_folder(Path(work) / "run", experiment) as folder:
        return prepare(experiment, folder)


def random_codes(setting: Setting, count: int) -> list[str]:
    """Random codes as text, as the first generation of a search draws them."""
    space = setting.space
    codes = Random(space, setting.experiment.search.min_keep).first(count, np.random.default_rng(0))
    return [space.format_code(space.repair(code)) for code in codes]


def describe(setting: Setting) -> str:
    """The command, the machine and the commit that a number comes from."""
    compute = make_compute(setting.experiment.workers.device, setting.experiment.precision)
    return (
        f"`{' '.join(['python', *sys.argv])}` on {available_cpus()} cores, {device_name(compute.device)}, "
        f"{compute.precision}, torch {torch.__version__}, commit {git_commit() or 'unknown'}"
    )


def markdown(table: pd.DataFrame) -> str:
    """A table for a README, numbers with at most three decimals."""
    cells = [[f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value) for value in row]
             for row in table.itertuples(index=False)]  # fmt: skip
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
