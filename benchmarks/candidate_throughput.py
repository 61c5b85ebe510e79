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

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from benchmark_tools import add_arguments, describe, markdown, open_setting, random_codes
from standard_trial import make_loaders, train_and_score

from evoprune.stages.base import save_base
from evoprune.common.hardware import available_cpus
from evoprune.networks.device import make_compute
from evoprune.config import Fidelity
from evoprune.data.tensors import Data, make_data
from evoprune.data.sources import load_raw_data
from evoprune.evaluation.candidate_job import Batch
from evoprune.evaluation.worker import codes_per_batch
from evoprune.stages.measure_candidates import job_factory
from evoprune.stages.context import Setting
from evoprune.pruning.channels import slim_network
from evoprune.evaluation.accuracy import accuracy
from evoprune.training.loop import train
from evoprune.workers.resources import shape_here
from evoprune.workers.pool import open_workers

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


def loader(trial: dict[str, Any], setting: Setting, device: torch.device, code: str) -> tuple[float, float]:
    """A float32 DataLoader loop over the slim network."""
    started = time.monotonic()
    network = slim_network(setting.space, setting.base.network.to(device), setting.space.parse_code(code))
    return train_and_score(network, make_loaders(trial), trial, device), time.monotonic() - started


def tuned(trial: dict[str, Any], setting: Setting, data: Data, code: str) -> tuple[float, float]:
    """What a careful engineer writes in plain torch."""
    compute = make_compute("auto", "auto", available_cpus())
    recipe = setting.experiment.evaluation
    with patch("evoprune.layers._can_fuse", lambda norm, x: False):  # a mock would keep every map that it is asked of
        started = time.monotonic()
        network = slim_network(setting.space, setting.base.network.to(compute.device), setting.space.parse_code(code))
        network = network.to(memory_format=torch.channels_last)
        for _ in train(network, data, recipe, compute, trial["seed"]):
            pass
        return accuracy(network, data, data.validation, compute), time.monotonic() - started


def evoprune(setting: Setting, code: str) -> tuple[float, float]:
    """evoprune's own evaluation: every worker measures the code, as large batches as in a search."""
    experiment, space = setting.experiment, setting.space
    size, number = codes_per_batch(experiment, space), shape_here(experiment.workers).num_workers
    first = Batch((space.format_code(space.full_code()),), Fidelity(1e-6, 128))
    batch = Batch((code,) * size, Fidelity(experiment.evaluation.epochs))
    with open_workers(experiment.workers, job_factory(setting)) as workers:
        list(workers.map([first] * number))  # what only a search's first candidates wait for
        started = time.monotonic()
        events = list(workers.map([batch] * number))
        return events[0].value["accuracy"], (time.monotonic() - started) / (number * size)


def write_trial(setting: Setting, data: Data, work: Path) -> dict[str, Any]:
    """Save what a standard trial reads: parent network, images, recipe."""
    recipe, base = setting.experiment.evaluation, setting.base
    save_base(base, setting.space, work / "parent")
    splits = {"train": data.train, "val": data.validation}
    arrays: dict[str, Any] = {}
    for name, split in splits.items():
        arrays[f"{name}_images"] = split.images.permute(0, 2, 3, 1).cpu().numpy()
        arrays[f"{name}_labels"] = split.labels.cpu().numpy()
    np.savez(work / "data.npz", **arrays)
    steps = max(1, round(recipe.epochs * (len(data.train) // recipe.batch_size)))
    return {
        "parent": str(work / "parent"),
        "data": str(work / "data.npz"),
        "space": setting.space.name,
        "mean": data.mean.flatten().tolist(),
        "std": data.std.flatten().tolist(),
        "num_images": steps * recipe.batch_size,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "loader_workers": min(8, available_cpus()),
        "seed": 0,
    }


def measure(setting: Setting, codes: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Rows of every method, code and round."""
    device = make_compute("auto", "auto").device
    data = make_data(load_raw_data(setting.experiment.data), setting.experiment.data, device)
    with tempfile.TemporaryDirectory() as folder:
        trial = write_trial(setting, data, Path(folder))
        for number in range(rounds):
            trial["seed"] = number
            seeded = replace(setting, experiment=setting.experiment.model_copy(update={"seed": number}))
            turns: dict[str, Measure] = {
                "standard": partial(standard, trial, Path(folder)),
                "loader": partial(loader, trial, setting, device),
                "tuned": partial(tuned, trial, setting, data),
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--codes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    setting = open_setting(arguments)
    codes = random_codes(setting, arguments.codes)
    rows = []
    for row in measure(setting, codes, arguments.rounds):
        rows.append(row)
        print(f"{row['method']:9} {row['accuracy']:6.2f} % {row['seconds']:6.2f} s", flush=True)
        pd.DataFrame(rows).to_csv(arguments.out / "candidate_throughput.csv", index=False)
    table = markdown(summarise(pd.DataFrame(rows)).reset_index())
    text = f"{describe(setting)}\n\n{table}\n"
    (arguments.out / "candidate_throughput.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
