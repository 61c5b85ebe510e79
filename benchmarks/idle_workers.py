"""How busy are 64 workers whose jobs differ ten times in length? The real search on a virtual clock, made-up scores.

Usage: python benchmarks/idle_workers.py [--workers 64] [--children 2000] [--seeds 3]
Prints busy time / (workers x makespan) of both modes, without and with a ladder, the same until the last job began
(at the end of any search workers run dry), and the ratio of the makespans.
"""

import argparse
import heapq
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_tools import random_scores

from evoprune.common.objectives import OK
from evoprune.common.seeds import derive_seed
from evoprune.config import Experiment, parse_experiment
from evoprune.data.dataset import DataShape
from evoprune.evaluation.candidate_job import Batch
from evoprune.networks.base import Base, save_base
from evoprune.networks.build import build_network
from evoprune.runs.ownership import open_run_folder
from evoprune.runs.table import write_table
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace
from evoprune.stages.context import Context
from evoprune.stages.search import search
from evoprune.workers.jobs import Done, Report, Said

LADDER = [{"epochs": 0, "promote": 0.33}]


class VirtualWorkers:
    """Workers whose jobs take no time but on their own clock: 1 to 10 with the multiply-adds, times noise.

    Recalibration alone takes a quarter of what it takes with the short training. The accuracy is a smooth function of
    what the code keeps of channels that differ in worth, and noise.
    """

    def __init__(self, space: SearchSpace, number: int):
        self._space, self._number = space, number
        self._full = code_costs(space, space.full_code())["flops"]
        self._worth = np.random.default_rng(0).exponential(size=space.length)
        self._jobs: list[tuple[float, float]] = []
        self._clock = 0.0
        self._idle = [f"virtual-{i}" for i in range(number)]
        self._running: list[tuple[float, int, str, list[dict[str, Any]]]] = []
        self._reports: deque[Report] = deque()

    @property
    def makespan(self) -> float:
        """Time from the first job's start to the last one's end."""
        return max(start + seconds for start, seconds in self._jobs)

    def busy(self, until: float) -> float:
        """Share of the workers' time that was worked until a time, in percent."""
        worked = sum(min(seconds, until - start) for start, seconds in self._jobs if start < until)
        return 100 * worked / (self._number * until)

    @property
    def last_start(self) -> float:
        """When the last job began."""
        return self._jobs[-1][0]

    @contextmanager
    def open(self, *_: object) -> Iterator["VirtualWorkers"]:
        """As `evoprune.workers.pool.open_workers`."""
        yield self

    def idle(self) -> list[str]:
        """Those that have no job."""
        return list(self._idle)

    def num_starting(self) -> int:
        """None: all are there."""
        return 0

    def is_fresh(self, worker: str) -> bool:
        """Of no interest: nobody dies."""
        return False

    def renew(self, worker: str) -> None:
        """Nothing to do."""

    def begin(self, worker: str, item: Batch, limit_s: float | None = None) -> None:
        """Note when the job that starts now will end."""
        self._idle.remove(worker)
        measured = [self._measure(code, item.fidelity.epochs) for code in item.codes]
        seconds = sum(one["seconds"] for one in measured)
        heapq.heappush(self._running, (self._clock + seconds, len(self._jobs), worker, measured))
        self._jobs.append((self._clock, seconds))

    def wait(self) -> Report:
        """Put the clock forward to the end of the next job."""
        if not self._reports:
            self._clock, _, worker, measured = heapq.heappop(self._running)
            self._reports.extend([*(Said(worker, one) for one in measured), Done(worker)])
        report = self._reports.popleft()
        if isinstance(report, Done):
            self._idle.append(report.worker)
        return report

    def ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Nobody is there to answer."""
        return {}

    def _measure(self, text: str, epochs: float) -> dict[str, Any]:
        code = self._space.parse_code(text)
        rng = np.random.default_rng(derive_seed(text, epochs))
        costs = code_costs(self._space, code)
        seconds = (1 + 9 * costs["flops"] / self._full) * (1.0 if epochs else 0.25) * rng.lognormal(0, 0.1)
        kept = float(code @ self._worth / self._worth.sum())
        accuracy = (90 if epochs else 60) * kept ** (0.3 if epochs else 1.0) + rng.normal(0, 0.5)
        return {**costs, "status": OK, "error": None, "accuracy": accuracy, "seconds": seconds}


def make_experiment(
    mode: str, ladder: list[dict[str, float]], seed: int, num_workers: int, children: int
) -> Experiment:
    return parse_experiment(
        {
            "name": "idle-workers",
            "seed": seed,
            "inherit": "plain",  # nothing is trained or measured
            "data": {"dataset": "digits", "validation": 0.2},  # not looked at
            "search_space": {"name": "resnet20"},
            "evaluation": {"epochs": 0.1, "ladder": ladder},
            "search": {
                "mode": mode,
                "random_samples": num_workers,
                "num_individual": num_workers,
                "generations": -(-children // num_workers),
            },
        },
        "benchmark",
    )


def run(experiment: Experiment, num_workers: int, folder: Path) -> VirtualWorkers:
    with open_run_folder(folder, experiment) as opened:
        context = Context(experiment, opened, DataShape(num_classes=10, in_channels=3, image_size=32))
        prepare(context)
        workers = VirtualWorkers(context.space, num_workers)
        search(context, workers.open)
    return workers


def prepare(context: Context) -> None:
    """Leave in the run's folder an untrained base network and made-up scores."""
    space, folder = context.space, context.folder
    save_base(Base(build_network(space), {"validation_accuracy": 100.0}), space, folder.base)
    for name in context.experiment.search.importances:
        path, scores = folder.importance(name), random_scores(space, seed=1).tolist()
        path.parent.mkdir(exist_ok=True)
        channels = [(segment.name, channel) for segment in space.segments for channel in range(segment.width)]
        rows = [{"segment": segment, "channel": i, "score": scores.pop(0)} for segment, i in channels]
        write_table(path, rows, ["segment", "channel", "score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--children", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [
        "| ladder | seed | busy, generational | busy, steady state | until the last job began | makespan ratio |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as work:
        for name, ladder in (("none", []), ("0, then 0.1 epochs", LADDER)):
            for seed in range(arguments.seeds):
                generational, steady = (
                    run(
                        make_experiment(mode, ladder, seed, arguments.workers, arguments.children),
                        arguments.workers,
                        Path(work) / f"{mode}-{len(ladder)}-{seed}",
                    )
                    for mode in ("generational", "steady_state")
                )
                busy = [one.busy(one.makespan) for one in (generational, steady)] + [steady.busy(steady.last_start)]
                shares = " | ".join(f"{share:.1f} %" for share in busy)
                lines.append(f"| {name} | {seed} | {shares} | {generational.makespan / steady.makespan:.2f} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
