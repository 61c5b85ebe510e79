"""Does evolution find more than random codes do? Hypervolume at an equal number of evaluations, on real digits.

Usage: python benchmarks/search_quality.py [--seeds 3]
Prints a table of hypervolumes by seed, and the mean of (evolution - random).
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from evoprune.config import load_experiment
from evoprune.records import read_rows
from evoprune.report import hypervolumes
from evoprune.run import search
from evoprune.run_folder import open_run_folder
from evoprune.setting import prepare


def hypervolume_of(proposal: str, seed: int, work: Path) -> float:
    overrides = [
        f"seed={seed}",
        f"search.proposal={proposal}",
        f"base.cache={work / 'base'}",
        "workers.backend=local",
        "search.generations=10",
    ]
    experiment = load_experiment("quickstart", overrides)
    with open_run_folder(work / f"{proposal}-{seed}", experiment) as folder:
        setting = prepare(experiment, folder)
        search(setting, folder)
        return hypervolumes(read_rows(folder.reports), experiment.search.objectives, setting.space)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    differences = []
    with tempfile.TemporaryDirectory() as work:
        rows = [[hypervolume_of(name, seed, Path(work)) for name in ("evolution", "random")] for seed in range(seeds)]
    print("| seed | evolution | random | ratio |\n|---|---|---|---|")
    for seed, (evolved, random) in enumerate(rows):
        differences.append(evolved - random)
        print(f"| {seed} | {evolved:.4f} | {random:.4f} | {evolved / random:.3f} |")
    print(f"mean difference {statistics.fmean(differences):+.4f} over {seeds} seeds")


if __name__ == "__main__":
    main()
