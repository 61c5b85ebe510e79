"""Does a long search keep its memory? Private memory of this process and its workers over many cheap candidates.

Usage: python benchmarks/memory.py [--candidates 10000] [--set data.dataset=npz --set data.root=data/cifar10.npz]
Measures random codes of ResNet-20 on Ray workers, as a search does, at a tiny fidelity: 64 images recalibrate, one step
of training. Prints MB after 10 %, 50 % and 100 % of the candidates, and how much the largest worker grew since 10 %.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from evoprune.common.objectives import OK
from evoprune.config import Experiment, Fidelity, load_experiment
from evoprune.evaluation.candidate_job import Batch, candidate_job
from evoprune.networks.build import build_network
from evoprune.runs.folder import RunFolder
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.workers.dispatch import dispatch
from evoprune.workers.jobs import Workers
from evoprune.workers.pool import open_workers

TINY = ["data.validation=0.01", "evaluation.recalibration_images=64", "evaluation.epochs=1e-6"]
SHARES = (0.1, 0.5, 1.0)


def private_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def random_codes(space: SearchSpace, count: int) -> list[str]:
    rng = np.random.default_rng(0)
    codes = (rng.random((count, space.length)) < rng.uniform(0.2, 1.0, (count, 1))).astype(np.uint8)
    return [space.format_code(space.repair(code)) for code in codes]


def measure(workers: Workers, codes: Sequence[str], epochs: float) -> list[float]:
    for event in dispatch(workers, (Batch((code,), Fidelity(epochs)) for code in codes)):
        assert event.value["status"] == OK, event.value["error"]
    return [private_mb(), *workers.ask(private_mb).values()]


def run(experiment: Experiment, num_candidates: int) -> None:
    context = Context(experiment, RunFolder(Path()))  # of which no file is read or written
    space = context.space
    factory = partial(candidate_job, experiment, space, build_network(space).eval(), context.dataset.arrays)
    codes = random_codes(space, num_candidates)
    done, tables = 0, []
    with open_workers(experiment.workers, factory) as workers:
        for share in SHARES:
            last = round(share * num_candidates)
            tables.append(measure(workers, codes[done:last], experiment.evaluation.epochs))
            done = last
            print(f"{done} candidates: driver {tables[-1][0]:.0f} MB, workers", *map(round, tables[-1][1:]), flush=True)
    print(f"largest worker: {max(tables[-1][1:]) / max(tables[0][1:]):.2f} times its size at {SHARES[0]:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    run(load_experiment("quickstart", [*TINY, *arguments.overrides]), arguments.candidates)


if __name__ == "__main__":
    main()
