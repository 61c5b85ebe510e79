"""What a search of many candidates costs besides its measurements.

Usage: python benchmarks/overheads.py [--rows 10000]
Prints milliseconds per candidate, with that many in the run, and seconds for what is done once.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_tools import random_scores

from evoprune.common.objectives import OK, Row
from evoprune.config import Experiment, parse_experiment
from evoprune.runs.reports_csv import report_columns
from evoprune.runs.table import Table, read_rows
from evoprune.search.candidate import Candidate
from evoprune.search.front import front_rows, hypervolumes
from evoprune.search.nsga3 import NSGA3Searcher
from evoprune.search.proposals.catalog import Knowledge, make_proposals
from evoprune.search.steady_state import Feeder
from evoprune.space.costs import code_costs, compute_costs
from evoprune.space.from_yaml import load_search_space
from evoprune.space.limits import make_limits
from evoprune.space.space import SearchSpace

OBJECTIVES = ("accuracy", "flops")


def make_experiment(rows: int) -> Experiment:
    search = {"mode": "steady_state", "random_samples": 64, "num_individual": 32, "generations": (rows - 64) // 32}
    space = {"name": "resnet56"}
    return parse_experiment({"name": "x", "data": {"dataset": "cifar10"}, "search_space": space, "search": search}, "x")


def make_searcher(space: SearchSpace, experiment: Experiment) -> NSGA3Searcher:
    """The search's own, with made-up importance of the channels."""
    scores = {name: random_scores(space, seed=0) for name in experiment.search.importances}
    proposals = make_proposals(Knowledge(space, experiment, scores))
    return NSGA3Searcher(space, experiment.search, make_limits(space, {}), proposals, experiment.seed)


def open_table(path: Path, space: SearchSpace) -> Table:
    return Table(path, report_columns([segment.name for segment in space.segments], with_latency=False))


def make_row(space: SearchSpace, candidate: Candidate, worth: np.ndarray) -> Row:
    accuracy = round(90 * float(candidate.code @ worth) ** 0.3, 2)
    row = {"id": candidate.id, "generation": max(0, 1 + (candidate.id - 64) // 32), "rung": 0, "status": OK}
    return {
        **row,
        **code_costs(space, candidate.code),
        "proposal": candidate.proposal,
        "key": space.key(candidate.code),
        "code": space.format_code(candidate.code),
        "accuracy": accuracy,
        "epochs": 0.1,
        "seconds": 1.0,
        "worker": "none",
        "error": None,
        **{f"kept.{name}": width for name, width in space.widths(candidate.code).items()},
    }


def evolve(space: SearchSpace, experiment: Experiment, path: Path) -> dict[str, float]:
    """Fill `path` with a search, one candidate after the other; mean milliseconds of each step of the last tenth."""
    searcher = make_searcher(space, experiment)
    table = open_table(path, space)
    worth = np.random.default_rng(0).exponential(size=space.length)
    worth /= worth.sum()
    times = []
    for _ in range(experiment.num_evaluations):
        moments = [time.perf_counter()]
        (candidate,) = searcher.ask(1)
        moments.append(time.perf_counter())
        row = make_row(space, candidate, worth)
        moments.append(time.perf_counter())
        table.append(row)
        moments.append(time.perf_counter())
        searcher.tell([candidate], np.array([[-row["accuracy"], row["flops"]]]), np.zeros(1))
        moments.append(time.perf_counter())
        times.append([1000 * (after - before) for before, after in pairwise(moments)])
    steps = ("proposing", "costing and describing", "recording", "selecting")
    return dict(zip(steps, np.mean(times[-len(times) // 10 :], axis=0), strict=True))


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def open_run(path: Path, space: SearchSpace) -> None:
    rows = read_rows(path)
    front_rows(rows, OBJECTIVES)
    hypervolumes(rows, OBJECTIVES, space)


def resume(path: Path, space: SearchSpace, experiment: Experiment) -> None:
    limits = make_limits(space, {})
    searcher = make_searcher(space, experiment)
    table = open_table(path, space)
    Feeder(searcher, experiment, limits, batch_size=1).replay(table.rows, space)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000)
    experiment = make_experiment(parser.parse_args(arguments).rows)
    space = load_search_space("resnet56")
    codes = np.random.default_rng(0).integers(0, 2, (100_000, space.length), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "reports.csv"
        print(f"| per candidate, {experiment.num_evaluations:,} in the run | ms |\n|---|---|")
        for step, milliseconds in evolve(space, experiment, path).items():
            print(f"| {step} | {milliseconds:.2f} |")
        print("\n| once | s |\n|---|---|")
        print(f"| open the run: rows, front, hypervolumes | {seconds(lambda: open_run(path, space)):.2f} |")
        print(f"| resume it in steady state | {seconds(lambda: resume(path, space, experiment)):.2f} |")
        print(f"| costs of 100,000 ResNet-56 codes | {seconds(lambda: compute_costs(space, codes)):.2f} |")


if __name__ == "__main__":
    main()
