"""Trainings of given codes by the experiment's `retrain` recipe, kept in a table as they end.

Run again, it goes on, within a training too: its state is kept beside the table after each epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from benchmark_tools import append_row, known_rows
from torch import nn

from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment, Fidelity, RetrainConfig
from evoprune.data.dataset import Dataset
from evoprune.data.tensors import place_data
from evoprune.evaluation.evaluator import Evaluator
from evoprune.evaluation.training_job import Notice, Task, Trained, TrainingFailed, training_job
from evoprune.evaluation.worker import worker_compute
from evoprune.pruning.moments import Moments
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.workers.dispatch import Broken, Lost, dispatch
from evoprune.workers.jobs import Job, Workers
from evoprune.workers.pool import open_workers

IDENTITY = ["method", "share", "inherit", "seed", "code"]
"""What tells the trainings of a table apart. `inherit` is as in an experiment, or `scratch`; `code` is text."""
SCRATCH = "scratch"

COLUMNS = [*IDENTITY, "flops", "recalibrated", "validation", "test"]
Recipes = Mapping[str, RetrainConfig]


def train_networks(
    context: Context, networks: Sequence[dict[str, Any]], path: Path, recipes: Recipes | None = None
) -> pd.DataFrame:
    """Train what is not in the table yet, in the order given; returns the table.

    Args:
        context: its base network, moments, data, and `retrain`.
        networks: each with the keys of `IDENTITY`.
        path: the table. A row has these, `flops`, and in percent `recalibrated` (validation accuracy without training,
            of seed 0), `validation` and `test` at the last epoch.
        recipes: by method, where a method has another recipe than the experiment's.

    Raises:
        SystemExit: some failed, when the others are done; with the reasons.
    """
    known = known_rows(path, IDENTITY)
    missing = [row for row in networks if tuple(str(row[name]) for name in IDENTITY) not in known]
    base, dataset = context.base.network, context.dataset
    factory = partial(_job, _Jobs(context.experiment, recipes or {}, context.space, base, dataset, context.moments))
    settings = context.experiment.to_yaml(), recipes
    states = [_state(path, *(row[name] for name in IDENTITY), *settings) for row in missing]
    with open_workers(context.experiment.workers, factory) as workers:
        items = [
            (row["inherit"], row["method"], Task("all", row["code"], row["seed"], str(state)))  # seed: of the images
            for row, state in zip(missing, states, strict=True)
        ]
        failures = _trained(workers, items, _Results(context.space, path, missing, states))
    if failures:
        raise SystemExit("\n".join(failures))
    return pd.read_csv(path)


@dataclass(frozen=True)
class _Results:
    """Where trainings are kept, and what they are of."""

    space: SearchSpace
    path: Path
    rows: Sequence[dict[str, Any]]
    states: Sequence[Path]

    def keep(self, index: int, before: float, trained: Trained) -> None:
        code = self.space.parse_code(self.rows[index]["code"])
        costs = {"flops": code_costs(self.space, code)["flops"], "recalibrated": before}
        scores = {"validation": trained.validation_accuracy, "test": trained.test_accuracy}
        found = {**self.rows[index], **costs, **scores}
        append_row(self.path, {name: found[name] for name in COLUMNS})
        self.states[index].unlink(missing_ok=True)
        print({name: found[name] for name in COLUMNS if name != "code"}, flush=True)


def _trained(workers: Workers, items: Sequence[Any], results: _Results) -> list[str]:
    """Keep each training with the accuracy before it, as it ends; returns what those that failed say."""
    before, failures = dict[int, float](), []
    for event in dispatch(workers, items):
        match event.value:
            case float() as accuracy:
                before[event.index] = accuracy
            case Trained() as trained:
                results.keep(event.index, before[event.index], trained)
            case Notice(text):
                print(text, flush=True)
            case Lost(reason) | Broken(reason) | TrainingFailed(reason):
                failures.append(f"{items[event.index][1]}: {reason}")
    return failures


def _state(table: Path, *identity: object) -> Path:
    """Where the state of a training is kept until it ends; another identity, another file."""
    return table.absolute().with_name(f"{table.stem}-{derive_seed(*identity):016x}.ckpt")


@dataclass(frozen=True)
class _Jobs:
    """What trains codes, however they inherit and by whatever recipe."""

    experiment: Experiment
    recipes: Recipes
    space: SearchSpace
    base: nn.Module
    dataset: Dataset
    moments: Moments | None

    def training(self, inherit: str, method: str) -> Job:
        recipe = self.recipes.get(method, self.experiment.retrain)
        if inherit == SCRATCH:
            recipe = recipe.model_copy(update={"start": "scratch"})
        experiment = self.experiment.model_copy(update={"retrain": recipe})
        return training_job(experiment, self.space, self.base, self.dataset, self._moments(inherit))

    def evaluator(self, inherit: str) -> Evaluator:
        compute = worker_compute(self.experiment)
        data = place_data(self.dataset.arrays, compute.device)
        config, seed = self.experiment.evaluation, self.experiment.seed
        return Evaluator(self.space, self.base, data, config, compute, seed, moments=self._moments(inherit))

    def _moments(self, inherit: str) -> Moments | None:
        return self.moments if inherit == "compensated" else None


def _job(jobs: _Jobs) -> Job:
    """Trains a code; reports what it is worth before that first."""
    training, evaluator = cache(jobs.training), cache(jobs.evaluator)

    def job(item: tuple[str, str, Task]) -> Iterator[Any]:
        inherit, method, task = item
        own = method if method in jobs.recipes else ""
        (measured,) = evaluator(inherit).evaluate([jobs.space.parse_code(task.code)], Fidelity(0.0))
        if "accuracy" not in measured:
            yield TrainingFailed(measured["error"])
            return
        yield float(measured["accuracy"])
        yield from training(inherit, own)(task)

    return job


def means(trained: pd.DataFrame, by: Sequence[str], best: str = "test") -> pd.DataFrame:
    """Mean and spread over the seeds, best first in each group of the first column."""
    table = trained.groupby(list(by), as_index=False).agg(
        seeds=("seed", "count"),
        flops=("flops", "mean"),
        recalibrated=("recalibrated", "mean"),
        validation=("validation", "mean"),
        test=("test", "mean"),
        std=("test", "std"),
    )
    return table.sort_values([by[0], best], ascending=False)
