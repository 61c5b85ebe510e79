"""What the tests of the four steps share: a workspace on the tiny experiment, and its networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from commands import write_experiment
from helpers import merge
from torch import nn

from evoprune.cli import main
from evoprune.common.errors import OUTPUT_NOT_FINITE, TrainingError
from evoprune.evaluation.accuracy import accuracy
from evoprune.runs.folder import RunFolder
from evoprune.stages.context import Context, experiment_of_run
from evoprune.stages.workspace import Workspace

Steps = Callable[..., Path]


def make_steps(folder: Path, cache: Path) -> Steps:
    """Returns what runs a command on the tiny experiment in `folder`/run; it returns the run's folder."""

    def step(command: str, *words: str, status: int = 0, **changes: Any) -> Path:
        run = folder / "run"
        if command in ("finetune", "transform"):
            assert main([command, str(run), *words]) == status
        else:
            file = write_experiment(folder, **merge({"base": {"cache": str(cache)}}, changes))
            assert main([command, file, "--out", str(run), *words]) == status
        return run

    return step


def fails_where_sparse(share: float) -> Callable[..., float]:
    """What measures an accuracy, but of convolutions of which more than `share` is zero: they give no finite output."""

    def measure(network: nn.Module, *arguments: Any) -> float:
        weights = torch.cat([value.flatten() for value in network.parameters() if value.dim() == 4])
        if float((weights == 0).double().mean()) > share:
            raise TrainingError(OUTPUT_NOT_FINITE)
        return accuracy(network, *arguments)

    return measure


def summary(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "steps" / "summary.csv").set_index(["round", "state"])


def workspace_of(run: Path, *overrides: str) -> Workspace:
    return Workspace(Context(experiment_of_run(run, overrides), RunFolder(run)))


def files_of(run: Path) -> dict[str, bytes]:
    """All files of a run but its lock."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
