"""Candidates per hour of evoprune's evaluation, against the same candidates measured as people commonly do it.

In turns, code by code, so that what a machine's speed does over the hours does to all of them alike; with as many
images trained on and scored:
  standard   a fresh process, DataLoader with workers, float32, the full-width network with masked channels
  loader     one process on all cores, DataLoader with workers, float32, the slim network
  tuned      one process on all cores: images as tensors, bfloat16 where it is fast, channels last, the slim network
  evoprune   its own evaluation on all its workers, each of which measures the code; they start before its turn and end
             with it, as even idle ones would take a little from the others

Usage: python benchmarks/candidate_throughput.py EXPERIMENT [--set KEY=VALUE] [--codes 8] [--rounds 3] [--out FOLDER]
Writes candidate_throughput.csv (one row per measurement) and candidate_throughput.md (medians over the rounds).
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from benchmark_tools import make_parser, open_context, random_codes, write_result
from standard_trial import make_loaders, train_and_score

from evoprune.common.hardware import available_cpus
from evoprune.config import Fidelity
from evoprune.data.tensors import Data, place_data
from evoprune.evaluation.accuracy import accuracy
from evoprune.evaluation.candidate_job import Batch
from evoprune.evaluation.worker import codes_per_batch
from evoprune.networks.device import make_compute
from evoprune.pruning.channels import slim_network
from evoprune.stages.context import Context
from evoprune.stages.measure_candidates import job_factory
from evoprune.training.loop import TrainingOptions, train
from evoprune.workers.dispatch import dispatch
from evoprune.workers.pool import open_workers
from evoprune.workers.resources import shape_here

METHODS = ("standard", "loader", "tuned", "evoprune")
Measure = Callable[[str], tuple[float, float]]
"""A code's accuracy in percent, and seconds per candidate."""


def standard(trial: dict[str, Any], work: Path, code: str) -> tuple[float, float]:
    """Start a process for the code."""
    script = Path(__file__).with_name("standard_trial.py")
    started = time.monotonic()
    (work / "trial.json").write_text(json.dumps(trial | {"code": code}))
    command = [sys.executable, str(script), str(work / "trial.json")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(answer)["accuracy"], time.monotonic() - started


def loader(trial: dict[str, Any], context: Context, device: torch.device, code: str) -> tuple[float, float]:
    """A float32 DataLoader loop over the slim network."""
    started = time.monotonic()
    network = slim_network(context.space, context.base.network.to(device), context.space.parse_code(code))
    return train_and_score(network, make_loaders(trial), trial, device), time.monotonic() - started


def tuned(trial: dict[str, Any], context: Context, data: Data, code: str) -> tuple[float, float]:
    """What a careful engineer writes in plain torch."""
    compute = make_compute("auto", "auto", available_cpus())
    recipe = context.experiment.evaluation
    # not a mock, which would keep every map that it is asked of
    with patch("evoprune.networks.fused_layers._can_fuse", lambda norm, x: False):
        started = time.monotonic()
        network = slim_network(context.space, context.base.network.to(compute.device), context.space.parse_code(code))
        network = network.to(memory_format=torch.channels_last)
        for _ in train(network, data, recipe, compute, TrainingOptions(trial["seed"])):
            pass
        return accuracy(network, data, data.validation, compute), time.monotonic() - started


def evoprune(context: Context, code: str) -> tuple[float, float]:
    """evoprune's own evaluation: every worker measures the code, as large batches as in a search."""
    experiment, space = context.experiment, context.space
    size, number = codes_per_batch(experiment, space), shape_here(experiment.workers).num_workers
    first = Batch((space.format_code(space.full_code()),), Fidelity(1e-6, 128))
    batch = Batch((code,) * size, Fidelity(experiment.evaluation.epochs))
    with open_workers(experiment.workers, job_factory(context)) as workers:
        list(dispatch(workers, [first] * number))  # what only a search's first candidates wait for
        started = time.monotonic()
        events = list(dispatch(workers, [batch] * number))
        return events[0].value["accuracy"], (time.monotonic() - started) / (number * size)


def write_trial(context: Context, data: Data, work: Path) -> dict[str, Any]:
    """Save what a standard trial reads beside the base network: images, recipe."""
    recipe = context.experiment.evaluation
    splits = {"train": data.train, "val": data.validation}
    arrays: dict[str, Any] = {}
    for name, split in splits.items():
        arrays[f"{name}_images"] = split.images.permute(0, 2, 3, 1).cpu().numpy()
        arrays[f"{name}_labels"] = split.labels.cpu().numpy()
    np.savez(work / "data.npz", **arrays)
    steps = max(1, round(recipe.epochs * (len(data.train) // recipe.batch_size)))
    return {
        "base": str(context.folder.base),
        "data": str(work / "data.npz"),
        "space": context.space.name,
        "mean": data.mean.flatten().tolist(),
        "std": data.std.flatten().tolist(),
        "num_images": steps * recipe.batch_size,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "loader_workers": min(8, available_cpus()),
        "seed": 0,
    }


def measure(context: Context, codes: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Rows of every method, code and round."""
    device = make_compute("auto", "auto").device
    data = place_data(context.dataset.arrays, device)
    with tempfile.TemporaryDirectory() as folder:
        trial = write_trial(context, data, Path(folder))
        for number in range(rounds):
            trial["seed"] = number
            seeded = Context(context.experiment.model_copy(update={"seed": number}), context.folder)
            turns: dict[str, Measure] = {
                "standard": partial(standard, trial, Path(folder)),
                "loader": partial(loader, trial, context, device),
                "tuned": partial(tuned, trial, context, data),
                "evoprune": partial(evoprune, seeded),
            }
            for code, (method, measured) in product(codes, turns.items()):
                percent, seconds = measured(code)
                yield {"method": method, "round": number, "code": code, "accuracy": percent, "seconds": seconds}


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Per method: candidates per hour (median over the rounds), the ratio to it, accuracy over all codes."""
    by_round = rows.groupby(["method", "round"])
    per_hour = (3600 / by_round["seconds"].mean()).unstack()
    accuracies = by_round["accuracy"].mean().unstack()
    table = pd.DataFrame(
        {
            "candidates per hour": per_hour.median(axis=1),
            "lowest": per_hour.min(axis=1),
            "highest": per_hour.max(axis=1),
            "evoprune is faster by": (per_hour.loc["evoprune"] / per_hour).median(axis=1),
            "mean accuracy": accuracies.mean(axis=1),
            "its spread over rounds": accuracies.std(axis=1),
        }
    )
    return table.loc[list(METHODS)]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--codes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    with open_context(arguments) as context:
        for row in measure(context, random_codes(context, arguments.codes), arguments.rounds):
            rows.append(row)
            print(f"{row['method']:9} {row['accuracy']:6.2f} % {row['seconds']:6.2f} s", flush=True)
            pd.DataFrame(rows).to_csv(arguments.out / "candidate_throughput.csv", index=False)
        table = summarise(pd.DataFrame(rows)).reset_index()
        write_result(arguments.out / "candidate_throughput.md", context, "", table)


if __name__ == "__main__":
    main()
